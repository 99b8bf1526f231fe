"""The cache strategy, one per transaction: its reads go through the cache."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Sequence
from time import CLOCK_BOOTTIME, clock_gettime_ns
from typing import TYPE_CHECKING, Any, Final

from guillotina import configure
from guillotina.component import query_utility
from guillotina.db.cache.base import BaseCache
from guillotina.db.interfaces import ITransaction, ITransactionCache

from guillotina_groupcache import keys, metrics, records
from guillotina_groupcache.changes import Changes, Writes
from guillotina_groupcache.constants import EPOCH, Source
from guillotina_groupcache.interfaces import IGroupcacheUtility
from guillotina_groupcache.keys import Kind
from guillotina_groupcache.near_cache import Entries, Slot

if TYPE_CHECKING:
    from guillotina_groupcache.reads import Reads
    from guillotina_groupcache.utility import GroupcacheUtility

#: The most children that a listing reads at once, so that a large folder is never in memory as a whole.
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
        self._uncounted_hits = 0  # near hits since the last `_count_near_hits`
        self._database: str = getattr(transaction.manager, "db_id", "root")
        utility = query_utility(IGroupcacheUtility)
        self._utility: GroupcacheUtility | None = None
        self._entries: Entries = {}
        self._table = memoryview(b"")
        if utility is not None and utility.serves(self._database):
            self._utility, near = utility, utility.reads.near
            self._entries, self._table = near.entries(self._database), near.table
        #: What the application has asked to invalidate; it belongs to the transaction's event (R11).
        self._named = Changes()
        #: How many statements the connection had sent right after BEGIN.
        self._statements_at_begin = 0
        #: The records that were read, by object id: they say where an object was before it was changed.
        self.seen: dict[str | None, Any] = {}
        self._writes: Writes | None = None
        # Guillotina reads children one by one; over a network that is slower than no cache at all.
        transaction.get_children = self.get_children
        transaction.get_page_of_keys = self.get_page_of_keys

    # --- reads

    @property
    def _reads(self) -> Reads | None:
        """The cache's reads; None while the transaction must read over its own connection."""
        return None if self._utility is None or self._reads_itself() else self._utility.reads

    @property
    def _may_wait(self) -> bool:
        """Whether the transaction may wait for a load, which needs a connection of the pool: not while it holds one."""
        return self._transaction._db_conn is None and self._transaction._db_txn is None

    def _reads_itself(self) -> bool:
        """Whether the transaction may see rows over its own connection that no other connection sees (R12)."""
        transaction = self._transaction
        connection = transaction._db_conn
        if transaction._db_txn is None and (connection is None or not connection.is_in_transaction()):
            return False
        # An open database transaction that has sent nothing since BEGIN sees no such rows. An object's JSON, for one,
        # is made before the object is written, and reads the object's annotations.
        sent: int = transaction.get_query_count()
        return not 0 < self._statements_at_begin == sent

    def began(self) -> None:
        """Remember that BEGIN is the last statement that was sent."""
        self._statements_at_begin = self._transaction.get_query_count()

    async def get(
        self, oid: str | None = None, container: Any = None, id: str | None = None, variant: str | None = None
    ) -> Any:
        """The value, or `_EMPTY`; after None Guillotina loads the value by itself."""
        asked: Hashable = oid
        if oid is None or id is not None or variant is not None:
            asked = (oid if oid is not None else getattr(container, "__uuid__", container), id, variant)
        transaction = self._transaction
        may_wait = transaction._db_conn is None and transaction._db_txn is None
        reads_itself = not may_wait and self._reads_itself()
        if not reads_itself:
            value = self._near_hit(asked)
            if value is not None:
                self._uncounted_hits += 1
                return value
        utility = self._utility
        key = keys.from_cache_arguments(self._database, oid, container, id, variant)
        if utility is None or key is None or reads_itself:
            self._count(Source.NOWHERE)
            return None
        if may_wait:
            value, source = await utility.reads.get(key, (self._entries, asked))
        else:
            value, source = utility.reads.find(key, (self._entries, asked))
        self._count(source)
        if type(value) is records.Marker:
            return None
        if source in _MISSES and value is not None:
            metrics.loaded.set(True)
        return self._saw(value)

    def _near_hit(self, asked: Hashable) -> Any:
        """The value of a near entry that may be used now, or None: a hot read does no more than this.

        The order is R2's: load the database's deadline, load the version, read the clock.
        """
        entry = self._entries.get(asked)
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
        self._count_near_hits()
        return self._total_hits

    @_hits.setter
    def _hits(self, value: int) -> None:
        self._count_near_hits()
        self._total_hits = value
        self._manager._cache_hits += 1

    def _count_near_hits(self) -> None:
        """Add the near hits to all three counts at once: to count each hit when it happens would take too long."""
        hits, self._uncounted_hits = self._uncounted_hits, 0
        if self._utility is not None and hits:
            self._total_hits += hits
            self._manager._cache_hits += hits
            self._utility.reads.near.count(hits)

    def _saw(self, value: Any) -> Any:
        if value is not None and not isinstance(value, (str, int, list)):
            self.seen[value["zoid"]] = value
        return value

    async def get_children(self, parent: Any, ids: Sequence[str]) -> AsyncIterator[Any]:
        """Replaces `Transaction.get_children`: the objects that exist, in the order of `ids`."""
        transaction = self._transaction
        reads = self._reads
        if reads is None:
            async for child in type(transaction).get_children(transaction, parent, ids):
                yield child
            return
        ids = list(ids)
        for at in range(0, len(ids), WINDOW):
            for row in await self._children(reads, parent, ids[at : at + WINDOW]):
                yield transaction._fill_object(row, parent)

    async def get_page_of_keys(self, parent_oid: str, page: int = 1, page_size: int = 1000) -> list[str]:
        """Replaces `Transaction.get_page_of_keys`, whose callers, such as `@items`, read the children next."""
        transaction = self._transaction
        ids: list[str] = await type(transaction).get_page_of_keys(transaction, parent_oid, page, page_size)
        reads = self._reads
        if reads is not None and self._may_wait:
            await reads.warm([keys.encode(self._database, Kind.CHILD, parent_oid, id_) for id_ in ids[:WINDOW]])
        return ids

    async def _children(self, reads: Reads, parent: Any, ids: Sequence[str]) -> list[Any]:
        rows: dict[str, Any] = {}
        others = []
        for id_ in ids:
            value = self._near_hit((parent.__uuid__, id_, None))
            if value is None:
                others.append(id_)
            else:
                rows[id_] = value
        self._uncounted_hits += len(rows)
        wanted = [keys.encode(self._database, Kind.CHILD, parent.__uuid__, id_) for id_ in others]
        slots: list[Slot] = [(self._entries, (parent.__uuid__, id_, None)) for id_ in others]
        unanswered = []
        for id_, (value, source) in zip(others, await reads.get_many(wanted, slots, self._may_wait), strict=True):
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

    async def set(self, value: Any, *arguments: Any, **named: Any) -> None:
        """Store nothing: no version was taken before Guillotina's own load of the value (R1)."""
        self._saw(value)

    # --- what the application asks to invalidate

    def get_key(self, oid: Any = None, container: Any = None, id: Any = None, variant: Any = None) -> Any:
        """The key's bytes; None where nothing can be cached."""
        return keys.from_cache_arguments(self._database, oid, container, id, variant)

    def get_cache_keys(self, ob: Any, type_: str = "modified") -> list[bytes]:
        """Every key whose value a write of the object can change, whatever the kind of write (R11)."""
        return list(keys.object_keys(self._database, ob))

    async def delete(self, key: Any) -> None:
        """See `delete_all`."""
        await self.delete_all([key])

    async def delete_all(self, keys: Any) -> None:
        """Bump the keys' buckets with the transaction's commit, or, if it commits nothing, when it ends."""
        for key in keys:
            if isinstance(key, bytes):
                self._named.keys.add(key)
            else:
                # `get_key` has not made it, so its meaning is unknown: it stands for everything.
                self._named.everything = True

    async def clear(self) -> None:
        """Bump all buckets in the whole cluster, now."""
        if self._utility is not None:
            await self._utility.clear()

    # --- what the transaction writes (`changes`)

    @property
    def writes(self) -> Writes | None:
        """What this transaction writes; None where the database is not served."""
        if self._writes is None and self._utility is not None:
            reads, members = self._utility.reads, self._utility.members
            self._writes = Writes(self._transaction, self._database, reads, members, self.seen, self._near_hit)
        return self._writes

    async def store_object(self, obj: Any, pickled: bytes) -> None:
        """Called for each object written: its record is pushed to its owners after the commit (R8)."""
        if self._utility is not None and self._utility.settings.push and self.writes is not None:
            self.writes.push(pickled)

    def take_named(self) -> Changes:
        """Return what the application has asked to invalidate, and forget it."""
        named, self._named = self._named, Changes()
        return named

    def has_sent(self, statements: int) -> bool:
        """Whether exactly so many statements were sent since BEGIN.

        One more may have been SAVEPOINT, or ROLLBACK to it: then COMMIT does not say what was committed.
        """
        sent: int = self._transaction.get_query_count() - self._statements_at_begin
        return sent == statements

    def count_pushed(self, records: int) -> None:
        """Count records that are stored because this transaction has written them."""
        for _ in range(records):
            self._stored += 1  # its setter adds one, whatever it is given

    async def close(self, invalidate: bool = True, publish: bool = True) -> None:
        """The transaction has ended: bump what was named and, as nothing was written, not announced."""
        named = self.take_named()
        self._statements_at_begin = 0
        self._writes = None
        if self._utility is None:
            return
        self._count_near_hits()
        transaction = self._transaction
        wrote = transaction.added or transaction.modified or transaction.deleted
        if (named.keys or named.everything) and not wrote:
            await self._utility.events.invalidate(self._database, named.keys, named.everything)
