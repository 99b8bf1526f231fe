"""The place where a transaction announces what it has changed: the storage's methods, decorated (R3, R9, R11).

`Transaction.tpc_commit` awaits `store` and `delete` for each object; `tpc_finish` awaits `commit` after the last
statement that writes, and before `strategy.close()`.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from guillotina.exceptions import ConflictError

from guillotina_groupcache import keys
from guillotina_groupcache.announcing import Answers, StandIn, announced, announced_transaction
from guillotina_groupcache.changes import Stored, Writes, stubs
from guillotina_groupcache.keys import Kind, stored_oid
from guillotina_groupcache.settings.role import is_referee
from guillotina_groupcache.strategy import GroupcacheStrategy

if TYPE_CHECKING:
    from guillotina_groupcache.utility import GroupcacheUtility

logger = logging.getLogger("guillotina_groupcache")


def decorate(storage: Any, utility: GroupcacheUtility) -> None:
    """Make a storage announce what is committed through it, for as long as it lives.

    Doing it twice is doing it once. After the utility's end a commit that the other processes would have to
    learn of fails: they could not.
    """
    if not isinstance(getattr(storage.commit, "__self__", None), Announcer):
        Announcer(storage, utility)


class Announcer:
    """The methods of one storage by which transactions write, and what they do besides."""

    def __init__(self, storage: Any, utility: GroupcacheUtility) -> None:
        self._storage = storage
        self._utility = utility
        self._start, self._commit, self._abort = storage.start_transaction, storage.commit, storage.abort
        self._store, self._delete = storage.store, storage.delete
        #: What transactions write whose cache is not ours.
        self._foreign: weakref.WeakKeyDictionary[Any, Writes] = weakref.WeakKeyDictionary()
        storage.start_transaction, storage.commit, storage.abort = self.start_transaction, self.commit, self.abort
        storage.store, storage.delete = self.store, self.delete
        if is_referee(storage):
            self._begin = storage._db_transaction_factory
            storage._db_transaction_factory = self._db_transaction
            self._write_blob_chunk = storage.write_blob_chunk
            storage._sql = Marked(storage, utility)
            storage.get_conflicts = self.get_conflicts
            storage.write_blob_chunk = self.write_blob_chunk

    def _writes(self, transaction: Any) -> Writes:
        strategy = transaction._cache
        if isinstance(strategy, GroupcacheStrategy) and (writes := strategy.writes) is not None:
            return writes
        if transaction not in self._foreign:
            self._foreign[transaction] = Writes(transaction, _database(transaction), self._utility)
        return self._foreign[transaction]

    # --- the methods, as Guillotina calls them

    async def start_transaction(self, transaction: Any, *arguments: Any, **named: Any) -> Any:
        result = await self._start(transaction, *arguments, **named)
        if isinstance(transaction._cache, GroupcacheStrategy):
            transaction._cache.began()
        return result

    def _db_transaction(self, transaction: Any) -> Any:
        begun = self._begin(transaction)
        begun._connection = Answers(begun._connection)
        return begun

    async def store(self, oid: str, old_serial: Any, writer: Any, obj: Any, transaction: Any) -> Any:
        stored = Stored(oid, obj, writer)
        with self._statements(transaction) as writes:
            await self._look_up(writes, stored=stored)
            result = await self._store(oid, old_serial, writer, obj, transaction)
        writes.wrote(stored)
        return result

    async def delete(self, transaction: Any, oid: str) -> Any:
        with self._statements(transaction) as writes:
            await self._look_up(writes, deleted=oid)
            return await self._delete(transaction, oid)

    @contextmanager
    def _statements(self, transaction: Any) -> Iterator[Writes]:
        """Count the statements that the block sends among those that are known (`Writes.statements`)."""
        writes, before = self._writes(transaction), transaction.get_query_count()
        try:
            yield writes
        finally:
            writes.statements += transaction.get_query_count() - before

    async def _look_up(self, writes: Writes, **written: Any) -> None:
        try:
            await writes.look_up(self._storage, **written)
        except asyncpg.DeadlockDetectedError as error:
            # As Guillotina does where its own statement meets one, so that the request is tried again.
            raise ConflictError("Deadlock detected.") from error
        except asyncpg.InterfaceError as error:
            if "another operation is in progress" in str(error):
                raise ConflictError("asyncpg error, another operation in progress.") from error
            raise

    async def get_conflicts(self, transaction: Any) -> list[Any]:
        return self._writes(transaction).conflicts()

    async def write_blob_chunk(self, transaction: Any, bid: str, oid: str, chunk_index: int, data: bytes) -> Any:
        """Guillotina inserts a stub of an object that has no row yet, by a statement that commits by itself."""
        writes, connection = self._writes(transaction), transaction._db_conn
        if connection is not None and connection.is_in_transaction():
            writes.stub(oid)
        elif writes.may_lack(oid):
            async with (
                self._storage.acquire(transaction, "groupcache_stub") as connection,
                announced_transaction(self._utility, _database(transaction), connection) as changes,
            ):
                insert = stubs(self._utility.mark_of(self._storage), self._storage.objects_table_name)
                if await connection.fetch(insert, [stored_oid(oid)]):
                    changes.keys.add(keys.encode(_database(transaction), Kind.OBJECT, oid))
        return await self._write_blob_chunk(transaction, bid, oid, chunk_index, data)

    async def commit(self, transaction: Any) -> Any:
        if transaction._db_txn is None:
            return await self._commit(transaction)
        # Guillotina takes this lock for COMMIT alone. From when it is known what the transaction has changed nobody
        # may send another statement for it, or give it up: what waits for the lock finds it committed.
        async with transaction._lock:
            locked = Locked(transaction)
            if transaction._db_txn is None:
                return await self._commit(locked)
            return await self._commit_announced(transaction, locked)

    async def _commit_announced(self, transaction: Any, locked: Locked) -> Any:
        writes, strategy = self._writes(transaction), transaction._cache
        changed, everything = writes.changed()
        if isinstance(strategy, GroupcacheStrategy):
            named, all_named = strategy.take_named()
            changed, everything = changed | named, everything or all_named
        answers = _answers(transaction)
        known = isinstance(strategy, GroupcacheStrategy) and strategy.has_sent(writes.statements)
        if not known and answers is not None:
            noted, all_noted = await self._noted(transaction)
            changed, everything = changed | noted, everything or all_noted
        async with announced(self._utility, _database(transaction), changed, everything, answers) as event:
            result = await self._commit(locked)
            if answers is not None and answers.last[1] != "COMMIT":
                logger.warning(_ROLLED_BACK, transaction._tid, answers.last[1])
            elif known:
                pushes = list(writes.pushes())
                event.pushes = [(key, value) for found_under, value in pushes for key in found_under]
                strategy.count_pushed(len(pushes))
        self._foreign.pop(transaction, None)
        return result

    async def _noted(self, transaction: Any) -> tuple[set[bytes], bool]:
        try:
            return await self._utility.take_notes(self._storage, transaction._db_conn)
        except asyncpg.InFailedSQLTransactionError:
            return set(), False  # COMMIT will be a ROLLBACK

    async def abort(self, transaction: Any) -> Any:
        answers = _answers(transaction)
        result = await self._abort(transaction)
        self._foreign.pop(transaction, None)
        if answers is not None:
            await answers.settle(self._utility)
        return result


class Marked:
    """Guillotina's statements, of which those that store and delete objects say that they are announced (R14).

    What the application sends over the same connection does not: nobody announces that.
    """

    __slots__ = ("_marked", "_statements", "_storage", "_utility")

    def __init__(self, storage: Any, utility: GroupcacheUtility) -> None:
        self._storage = storage
        self._utility = utility
        self._statements = storage._sql
        self._marked: dict[tuple[str, str, str], str] = {}

    def get(self, name: str, table: str) -> str:
        """A statement by its name, for a table."""
        if name not in _STORING:
            statement: str = self._statements.get(name, table)
            return statement
        mark = self._utility.mark_of(self._storage)
        marked = self._marked.get((mark, name, table))
        if marked is None:
            marked = self._marked[mark, name, table] = mark + self._statements.get(name, table)
        return marked


class Locked(StandIn):
    """A transaction for a storage's `commit`, which takes its lock: that is held already."""

    __slots__ = ("_lock",)

    def __init__(self, transaction: Any) -> None:
        super().__init__(transaction)
        self._own("_lock", asyncio.Lock())


#: What `store` and `delete` send (guillotina/db/storages/pg.py).
_STORING: Final = frozenset(("NAIVE_UPSERT", "UPDATE", "TRASH_PARENT_ID"))
_ROLLED_BACK = (
    "groupcache: the database answered COMMIT of transaction %s with %s: a statement in it had failed, and the"
    " application swallowed the error; nothing of the transaction was stored"
)


def _database(transaction: Any) -> str:
    database: str = getattr(transaction.manager, "db_id", "root")
    return database


def _answers(transaction: Any) -> Answers | None:
    """What the server answers to a transaction; None where its storage is not PostgreSQL's."""
    answers = getattr(transaction._db_txn, "_connection", None)
    return answers if isinstance(answers, Answers) else None
