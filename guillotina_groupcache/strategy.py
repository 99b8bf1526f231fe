"""The cache strategy: one a transaction. What it reads goes through the cache, what it writes becomes an event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Sequence
from time import CLOCK_BOOTTIME, clock_gettime_ns
from typing import TYPE_CHECKING, Any, Final

from guillotina import configure
from guillotina.component import query_utility
from guillotina.db.cache.base import BaseCache
from guillotina.db.interfaces import ITransaction, ITransactionCache

from guillotina_groupcache import keys, metrics, records
from guillotina_groupcache.changes import Writes
from guillotina_groupcache.interfaces import IGroupcacheUtility
from guillotina_groupcache.keys import Kind
from guillotina_groupcache.native import EPOCH, Source
from guillotina_groupcache.near_cache import Home, Place

if TYPE_CHECKING:
    from guillotina_groupcache.utility import GroupcacheUtility

#: `set`, which in the class below is a method of the cache.
Set = set

#: Children that a listing asks for at once, so that a large folder is not read into memory whole.
WINDOW: Final = 1000
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
        self._writes: Writes | None = None
        # Guillotina asks for children one by one; over a network that is slower than no cache at all.
        transaction.get_children = self.get_children
        transaction.get_page_of_keys = self.get_page_of_keys

    # --- reads

    @property
    def _cache(self) -> GroupcacheUtility | None:
        """The utility; None while the transaction reads over its own connection."""
        return None if self._reads_itself() else self._utility

    @property
    def _may_wait(self) -> bool:
        """Whether the transaction has no connection of the pool: with one it must not wait for a load's."""
        return self._transaction._db_conn is None and self._transaction._db_txn is None

    def _reads_itself(self) -> bool:
        """Whether the transaction may see rows over its own connection that nobody else sees (R12)."""
        transaction = self._transaction
        connection = transaction._db_conn
        if transaction._db_txn is None and (connection is None or not connection.is_in_transaction()):
            return False
        return not self._has_only_begun()

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
        transaction = self._transaction
        may_wait = transaction._db_conn is None and transaction._db_txn is None
        itself = not may_wait and self._reads_itself()
        if not itself:
            value = self._again(at)
            if value is not None:
                self._again_hits += 1
                return value
        cache = self._utility
        key = keys.from_cache_arguments(self._database, oid, container, id, variant)
        if cache is None or key is None or itself:
            self._count(Source.NOWHERE)
            return None
        if may_wait:
            value, source = await cache.get(key, (self._decoded, at))
        else:
            value, source = cache.find(key, (self._decoded, at))
        self._count(source)
        if type(value) is records.Marker:
            return None
        if source in _MISSES and value is not None:
            metrics.loaded.set(True)
        return self._saw(value)

    def _again(self, at: Hashable) -> Any:
        """What this process has decoded, if it may be used now; else None. That is all of a hot read.

        The order is R2's: the database's deadline is loaded, then the version, then the clock is read.
        """
        entry = self._decoded.get(at)
        if entry is None:
            return None
        table = self._table
        deadline = table[entry.deadline]
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
        if cache is not None and self._may_wait:
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
        for id_, (value, source) in zip(asked, await cache.get_many(wanted, places, self._may_wait), strict=True):
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
        return list(keys.object_keys(self._database, ob))

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

    # --- what the transaction writes

    @property
    def writes(self) -> Writes | None:
        """What this transaction writes; None where the database is not served."""
        if self._writes is None and self._utility is not None:
            self._writes = Writes(self._transaction, self._database, self._utility, self.seen, self._again)
        return self._writes

    async def store_object(self, obj: Any, pickled: bytes) -> None:
        """Called for each object written: its record is given to its owners after the commit (R8)."""
        if self._utility is not None and self._utility.settings.push and self.writes is not None:
            self.writes.push(pickled)

    def take_named(self) -> tuple[Set[bytes], bool]:
        """The keys that somebody asked to invalidate, or everything, for the transaction's event."""
        named, self._named = self._named, Set()
        return named, self._everything

    def has_sent(self, statements: int) -> bool:
        """Whether nothing but so many statements was sent since BEGIN.

        Another one may have been SAVEPOINT, or its ROLLBACK: then COMMIT does not tell what was committed.
        """
        sent: int = self._transaction.get_query_count() - self._statements_at_begin
        return sent == statements

    def count_pushed(self, records: int) -> None:
        """Count what is stored because this transaction has written it."""
        for _ in range(records):
            self._stored += 1

    async def close(self, invalidate: bool = True, publish: bool = True) -> None:
        """The transaction has ended. What was named and not announced, as nothing was written, is renamed now."""
        named, everything = self._named, self._everything
        self._named, self._everything = set(), False
        self._statements_at_begin = 0
        self._writes = None
        if self._utility is not None:
            self._count_again()
        transaction = self._transaction
        wrote = transaction.added or transaction.modified or transaction.deleted
        if self._utility is not None and (named or everything) and not wrote:
            await self._utility.invalidate(self._database, named, everything)
