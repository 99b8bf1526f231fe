"""The cache strategy: one a transaction. What it reads goes through the cache, what it writes becomes an event."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Hashable, Iterable, Sequence
from time import CLOCK_BOOTTIME, clock_gettime_ns
from typing import TYPE_CHECKING, Any, Final

from guillotina import configure
from guillotina.component import query_utility
from guillotina.const import ROOT_ID
from guillotina.db.cache.base import BaseCache
from guillotina.db.interfaces import ITransaction, ITransactionCache, IWriter

from guillotina_groupcache import keys, metrics, records
from guillotina_groupcache.changes import object_keys, record_keys
from guillotina_groupcache.decoded import Home, Place
from guillotina_groupcache.interfaces import IGroupcacheUtility, RecordError
from guillotina_groupcache.keys import Kind
from guillotina_groupcache.native import DEADLINE, EPOCH, Source

if TYPE_CHECKING:
    from guillotina_groupcache.utility import GroupcacheUtility

logger = logging.getLogger("guillotina_groupcache")

#: `set`, which in the class below is a method of the cache.
Set = set

#: Children that a listing asks for at once, so that a large folder is not read into memory whole.
WINDOW: Final = 1000
#: Bytes of what one transaction has written that are given to the owners at once; the rest is loaded when asked.
MAX_PUSHED: Final = 8 * 1024 * 1024

_MISSES: Final = frozenset((Source.NOWHERE, Source.BYPASS, Source.DATABASE))
_DATABASE: Final = Source.DATABASE


@configure.adapter(for_=ITransaction, provides=ITransactionCache, name="groupcache")
class GroupcacheStrategy(BaseCache):
    """Guillotina's `ITransactionCache` over the utility of this process."""

    def __init__(self, transaction: Any) -> None:
        super().__init__(transaction)  # type: ignore[no-untyped-call]
        self._manager = transaction._manager
        self._total_hits = 0
        self._again_hits = 0  # hot reads that are counted nowhere else yet
        self._database: str = getattr(transaction.manager, "db_id", "root")
        utility = query_utility(IGroupcacheUtility)
        self._utility: GroupcacheUtility | None = (
            utility if utility is not None and utility.serves(self._database) else None
        )
        self._decoded: Home = {}
        self._table = memoryview(b"")
        if self._utility is not None:
            self._decoded, self._table = self._utility.decoded.of(self._database), self._utility.decoded.table
        #: Keys that somebody asked to invalidate; they belong to the transaction's event (R11).
        self._named: Set[bytes] = set()
        self._everything = False
        #: Statements of the connection, right after BEGIN was sent over it.
        self._statements_at_begin = 0
        #: The records that were read, by object id: they tell where an object was before it was changed.
        self.seen: dict[str | None, Any] = {}
        #: The objects that were written and stay where they were.
        self._stay: Set[str] = set()
        self._pushes: dict[bytes, records.Record] = {}
        self._pushed_bytes = 0
        # Guillotina asks for children one by one; over a network that is slower than no cache at all.
        transaction.get_children = self.get_children
        transaction.get_page_of_keys = self.get_page_of_keys

    # --- reads

    @property
    def _cache(self) -> GroupcacheUtility | None:
        """The utility; None while a database transaction is open."""
        return self._utility if self._transaction._db_txn is None else None

    def began(self) -> None:
        """A database transaction was opened, and nothing has been sent over its connection since."""
        self._statements_at_begin = self._transaction.get_query_count()

    def _has_only_begun(self) -> bool:
        """Whether the open database transaction has sent nothing, so that it sees no rows that nobody else sees (R12).

        An object's JSON, for one, is made before the object is written, and reads the object's annotations.
        """
        sent: int = self._transaction.get_query_count()
        return 0 < self._statements_at_begin == sent

    async def get(
        self, oid: str | None = None, container: Any = None, id: str | None = None, variant: str | None = None
    ) -> Any:
        """The value, `_EMPTY`, or None: Guillotina's own load follows."""
        at: Hashable = oid
        if oid is None or id is not None or variant is not None:
            at = (oid if oid is not None else getattr(container, "__uuid__", container), id, variant)
        opened = self._transaction._db_txn is not None
        if not opened or self._has_only_begun():
            value = self._again(at)
            if value is not None:
                self._again_hits += 1
                return value
        cache = self._utility
        key = keys.from_cache_arguments(self._database, oid, container, id, variant)
        if cache is None or key is None or opened:
            # Whoever has a connection of the pool must not wait for a load, which takes another one.
            self._count(Source.NOWHERE)
            return None
        value, source = await cache.get(key, (self._decoded, at))
        self._count(source)
        if type(value) is records.Marker:
            return None
        if source in _MISSES and value is not None:
            metrics.loaded.set(True)
        return self._saw(value)

    def _again(self, at: Hashable) -> Any:
        """What this process has decoded, if it may be used now; else None. That is all of a hot read.

        The order is R2's: the deadline is loaded, then the version, then the clock is read.
        """
        entry = self._decoded.get(at)
        if entry is None:
            return None
        table = self._table
        deadline = table[DEADLINE]
        if table[EPOCH] + table[entry.word] != entry.version:
            return None
        if not deadline > clock_gettime_ns(CLOCK_BOOTTIME) < entry.expires:
            return None
        entry.used = True
        self.seen[entry.zoid] = entry.value
        return entry.value

    def _count(self, source: Source) -> None:
        if source in _MISSES:
            self._misses += 1
            if source is _DATABASE:
                self._stored += 1
        else:
            self._total_hits += 1
            self._manager._cache_hits += 1

    @property
    def _hits(self) -> int:
        """Hits of this transaction, as Guillotina shows them."""
        self._count_again()
        return self._total_hits

    @_hits.setter
    def _hits(self, value: int) -> None:
        self._count_again()
        self._total_hits = value
        self._manager._cache_hits += 1

    def _count_again(self) -> None:
        """Count the hot reads: to do so at each of them, here, for the manager and for the process, is too slow."""
        hits, self._again_hits = self._again_hits, 0
        if self._utility is not None and hits:
            self._total_hits += hits
            self._manager._cache_hits += hits
            self._utility.decoded.count(hits)

    def _saw(self, value: Any) -> Any:
        if value is not None and not isinstance(value, (str, int, list)):
            self.seen[value["zoid"]] = value
        return value

    async def get_children(self, parent: Any, ids: Sequence[str]) -> AsyncIterator[Any]:
        """In place of `Transaction.get_children`: the objects, in the order asked, without those that are not there."""
        transaction = self._transaction
        cache = self._cache
        if cache is None:
            async for child in type(transaction).get_children(transaction, parent, ids):
                yield child
            return
        ids = list(ids)
        for at in range(0, len(ids), WINDOW):
            for row in await self._children(cache, parent, ids[at : at + WINDOW]):
                yield transaction._fill_object(row, parent)

    async def get_page_of_keys(self, parent_oid: str, page: int = 1, page_size: int = 1000) -> list[str]:
        """In place of `Transaction.get_page_of_keys`: who asks for ids, as `@items` does, reads the children next."""
        transaction = self._transaction
        ids: list[str] = await type(transaction).get_page_of_keys(transaction, parent_oid, page, page_size)
        cache = self._cache
        if cache is not None:
            await cache.warm([keys.encode(self._database, Kind.CHILD, parent_oid, id_) for id_ in ids[:WINDOW]])
        return ids

    async def _children(self, cache: GroupcacheUtility, parent: Any, ids: Sequence[str]) -> list[Any]:
        rows: dict[str, Any] = {}
        asked = []
        for id_ in ids:
            value = self._again((parent.__uuid__, id_, None))
            if value is None:
                asked.append(id_)
            else:
                rows[id_] = value
        self._again_hits += len(rows)
        wanted = [keys.encode(self._database, Kind.CHILD, parent.__uuid__, id_) for id_ in asked]
        places: list[Place] = [(self._decoded, (parent.__uuid__, id_, None)) for id_ in asked]
        unanswered = []
        for id_, (value, source) in zip(asked, await cache.get_many(wanted, places), strict=True):
            self._count(source)
            if source is Source.NOWHERE or value is records.TOO_LARGE:
                unanswered.append(id_)
            elif value is not records.ABSENT:
                rows[id_] = self._saw(value)
        if unanswered:
            storage = self._transaction.storage
            for row in await storage.get_children(self._transaction, parent.__uuid__, unanswered):
                rows[row["id"]] = self._saw(dict(row))
        return [rows[id_] for id_ in ids if id_ in rows]

    async def set(
        self,
        value: Any,
        keyset: Any = None,
        oid: Any = None,
        container: Any = None,
        id: Any = None,
        variant: Any = None,
    ) -> None:
        """What Guillotina has loaded by itself is not stored: its version was not taken before the load (R1)."""
        self._saw(value)

    # --- what somebody asks to invalidate

    def get_key(self, oid: Any = None, container: Any = None, id: Any = None, variant: Any = None) -> Any:
        """The key's bytes; None for what is never cached."""
        return keys.from_cache_arguments(self._database, oid, container, id, variant)

    def get_cache_keys(self, ob: Any, type_: str = "modified") -> list[bytes]:
        """Every key whose value a write of the object can change, whatever the kind of write (R11)."""
        return list(object_keys(self._database, ob))

    async def delete(self, key: Any) -> None:
        """See `delete_all`."""
        await self.delete_all([key])

    async def delete_all(self, keys: Any) -> None:
        """Rename these keys with the transaction's commit, or, if it commits nothing, when it ends."""
        for key in keys:
            if isinstance(key, bytes):
                self._named.add(key)
            else:
                # A key of somebody's own making: what it means is not known, so it means everything.
                self._everything = True

    async def clear(self) -> None:
        """Rename everything in the whole cluster, now."""
        if self._utility is not None:
            await self._utility.clear()

    # --- the transaction's event

    async def store_object(self, obj: Any, pickled: bytes) -> None:
        """Called for each object written: its record is given to its owners after the commit (R8)."""
        if self._utility is None:
            return
        writer = IWriter(obj)
        if self._stays(obj, writer):
            self._stay.add(obj.__uuid__)
        else:
            self._stay.discard(obj.__uuid__)
        if not self._utility.settings.push:
            return
        if self._pushed_bytes + len(pickled) > MAX_PUSHED or obj.__uuid__ is None:
            return  # Guillotina stores a new database's root before it gives it an id
        self._pushed_bytes += len(pickled)
        record = records.pushed(obj, pickled, self._transaction._tid, writer)
        for key in record_keys(self._database, record):
            self._pushes[key] = record

    def _stays(self, obj: Any, writer: Any) -> bool:
        """Whether an object that has just been written is where it was, so that no list that names it changes.

        The tension: a list that is not renamed may be stale for ever, and one that is renamed in vain is counted
        and read again after every change of a child. What the transaction has read of the object tells where it
        was; but another one may have deleted it since, which leaves its `tid`, so that Guillotina's UPDATE puts it
        back. So the record must be one that this process may use even now, when the row is locked by the write:
        whoever changed the row before has announced it here (R3), and has renamed the record.
        """
        oid = obj.__uuid__
        seen = self.seen.get(oid)
        of, parent, name = writer.of, writer.parent_id, writer.id
        if seen is None or (seen["of"], seen["parent_id"], seen["id"]) != (of, parent, name):
            return False
        place = (of, name, "annotation") if of else (parent, name, None)
        stays = self._again(place) is seen or self._again(oid) is seen
        self.seen[oid] = seen
        return stays

    def pushes(self) -> Iterable[tuple[bytes, bytes]]:
        """What this transaction has written, as keys and byte forms. Counted as stored."""
        encoded: dict[int, bytes] = {}
        for key, record in self._pushes.items():
            if record["zoid"] in self._transaction.deleted:
                continue  # Guillotina writes what was changed, and then deletes what was deleted of it
            try:
                if id(record) not in encoded:
                    encoded[id(record)] = records.encode(record)
                    self._stored += 1
            except RecordError as error:
                logger.warning("groupcache: not pushed: %s", error)
                continue
            yield key, encoded[id(record)]

    def changed(self) -> tuple[Set[bytes], bool]:
        """The keys that this transaction may change, as far as its objects tell, or everything."""
        transaction = self._transaction
        changed = {*self._named}
        for objects in (transaction.added, transaction.modified, transaction.deleted):
            for oid, ob in objects.items():
                moves = objects is not transaction.modified or oid not in self._stay
                changed.update(object_keys(self._database, ob, with_lists=moves))
                if oid in self.seen:
                    changed.update(record_keys(self._database, self.seen[oid], with_lists=moves))
        self._named.clear()
        return changed, self._everything

    def unseen(self) -> list[str]:
        """Objects that are modified or deleted and of which it is not known where they were before."""
        transaction = self._transaction
        return [oid for oid in (*transaction.modified, *transaction.deleted) if oid not in self.seen and oid != ROOT_ID]

    async def close(self, invalidate: bool = True, publish: bool = True) -> None:
        """The transaction has ended. What was named and not announced, as nothing was written, is renamed now."""
        named, everything = self._named, self._everything
        self._named, self._everything = set(), False
        self._statements_at_begin = 0
        self._stay.clear()
        self._pushes.clear()
        self._pushed_bytes = 0
        if self._utility is not None:
            self._count_again()
        transaction = self._transaction
        wrote = transaction.added or transaction.modified or transaction.deleted
        if self._utility is not None and (named or everything) and not wrote:
            await self._utility.invalidate(self._database, named, everything)
