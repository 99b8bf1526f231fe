"""Where a transaction announces what it has changed: the storage's methods, decorated (R3, R9, R11).

`Transaction.tpc_commit` awaits `store` and `delete` for each object; `tpc_finish` awaits `commit` after the last
statement that writes, and before `strategy.close()`.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from guillotina.exceptions import ConflictError

from guillotina_groupcache import keys
from guillotina_groupcache.answers import Answers, StandIn
from guillotina_groupcache.changes import Changes, Stored, Writes, stubs
from guillotina_groupcache.keys import Kind, stored_oid
from guillotina_groupcache.settings.role import is_referee
from guillotina_groupcache.strategy import GroupcacheStrategy

if TYPE_CHECKING:
    from guillotina_groupcache.utility import GroupcacheUtility

logger = logging.getLogger("guillotina_groupcache")


def decorate(storage: Any, utility: GroupcacheUtility) -> None:
    """Make a storage announce what is committed through it, for as long as it lives.

    Decorating twice has no effect. After the utility's end, a commit that other processes would have to learn of
    fails.
    """
    if not isinstance(getattr(storage.commit, "__self__", None), Announcer):
        Announcer(storage, utility)


class Announcer:
    """The methods of one storage by which transactions write, with the announcement around them."""

    def __init__(self, storage: Any, utility: GroupcacheUtility) -> None:
        self._storage = storage
        self._utility = utility
        self._start, self._commit, self._abort = storage.start_transaction, storage.commit, storage.abort
        self._store, self._delete = storage.store, storage.delete
        #: What transactions that use another cache write.
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
            reads, members = self._utility.reads, self._utility.members
            self._foreign[transaction] = Writes(transaction, _database(transaction), reads, members)
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
        """Add the statements that the block sends to `Writes.statements`."""
        writes, before = self._writes(transaction), transaction.get_query_count()
        try:
            yield writes
        finally:
            writes.statements += transaction.get_query_count() - before

    async def _look_up(self, writes: Writes, **written: Any) -> None:
        try:
            await writes.look_up(self._storage, **written)
        except asyncpg.DeadlockDetectedError as error:
            # As Guillotina does for its own statements, so that the request is tried again.
            raise ConflictError("Deadlock detected.") from error
        except asyncpg.InterfaceError as error:
            if "another operation is in progress" in str(error):
                raise ConflictError("asyncpg error, another operation in progress.") from error
            raise

    async def get_conflicts(self, transaction: Any) -> list[Any]:
        return self._writes(transaction).conflicts()

    async def write_blob_chunk(self, transaction: Any, bid: str, oid: str, chunk_index: int, data: bytes) -> Any:
        """For an object without a row Guillotina inserts a stub, by a statement that commits by itself: announce it."""
        writes, connection = self._writes(transaction), transaction._db_conn
        if connection is not None and connection.is_in_transaction():
            writes.stub(oid)
        elif writes.may_lack(oid):
            async with (
                self._storage.acquire(transaction, "groupcache_stub") as connection,
                self._utility.events.transaction(_database(transaction), connection) as changes,
            ):
                insert = stubs(self._utility.members.mark_of(self._storage), self._storage.objects_table_name)
                if await connection.fetch(insert, [stored_oid(oid)]):
                    changes.keys.add(keys.encode(_database(transaction), Kind.OBJECT, oid))
        return await self._write_blob_chunk(transaction, bid, oid, chunk_index, data)

    async def commit(self, transaction: Any) -> Any:
        if transaction._db_txn is None:
            return await self._commit(transaction)
        # Guillotina takes this lock for COMMIT alone. But from the moment when the changes are collected, no task may
        # send another statement for the transaction, or abort it: a task that waits for the lock finds it committed.
        async with transaction._lock:
            locked = Locked(transaction)
            if transaction._db_txn is None:
                return await self._commit(locked)
            return await self._commit_announced(transaction, locked)

    async def _commit_announced(self, transaction: Any, locked: Locked) -> Any:
        writes, strategy, answers = self._writes(transaction), transaction._cache, _answers(transaction)
        changes, known = writes.changes(), False
        if isinstance(strategy, GroupcacheStrategy):
            named = strategy.take_named()
            changes.add(named.keys, named.everything)
            known = strategy.has_sent(writes.statements)
        if not known and answers is not None:
            await self._add_noted(changes, transaction._db_conn)
        async with self._utility.events.announced(_database(transaction), changes, answers) as pushes:
            result = await self._commit(locked)
            if answers is not None and answers.last[1] != "COMMIT":
                logger.warning(_ROLLED_BACK, transaction._tid, answers.last[1])
            elif known:
                pushed = list(writes.pushes())
                pushes += [(key, value) for found_under, value in pushed for key in found_under]
                strategy.count_pushed(len(pushed))
        self._foreign.pop(transaction, None)
        return result

    async def _add_noted(self, changes: Changes, connection: Any) -> None:
        """Add what raw SQL in the transaction has changed, as the triggers have noted it (R14)."""
        outside = self._utility.members.outside_writes_of(self._storage)
        # In a failed transaction no query runs, and COMMIT will be a ROLLBACK.
        with suppress(asyncpg.InFailedSQLTransactionError):
            if outside is not None:
                changes.add(*await outside.take(connection))

    async def abort(self, transaction: Any) -> Any:
        answers = _answers(transaction)
        result = await self._abort(transaction)
        self._foreign.pop(transaction, None)
        if answers is not None:
            await answers.settle(self._utility.events.settle)
        return result


class Marked:
    """Guillotina's statements, of which those that store and delete objects carry the mark of announced ones (R14).

    Statements that the application sends over the same connection do not: nobody announces them.
    """

    __slots__ = ("_statements", "_storage", "_utility")

    def __init__(self, storage: Any, utility: GroupcacheUtility) -> None:
        self._storage = storage
        self._utility = utility
        self._statements = storage._sql

    def get(self, name: str, table: str) -> str:
        """The statement of this name, for a table."""
        statement: str = self._statements.get(name, table)
        return self._utility.members.mark_of(self._storage) + statement if name in _STORING else statement


class Locked(StandIn):
    """A transaction whose lock is held already, for a storage's `commit`, which would take it."""

    __slots__ = ("_lock",)

    def __init__(self, transaction: Any) -> None:
        super().__init__(transaction)
        self._lock = asyncio.Lock()


#: What `store` and `delete` send (guillotina/db/storages/pg.py).
_STORING: Final = frozenset(("NAIVE_UPSERT", "UPDATE", "TRASH_PARENT_ID"))
_ROLLED_BACK = (
    "groupcache: the database answered COMMIT of transaction %s with %s: a statement in it had failed, and the"
    " application ignored the error; nothing of the transaction was stored"
)


def _database(transaction: Any) -> str:
    database: str = getattr(transaction.manager, "db_id", "root")
    return database


def _answers(transaction: Any) -> Answers | None:
    """The server's answers to a transaction; None where its storage is not PostgreSQL's."""
    answers = getattr(transaction._db_txn, "_connection", None)
    return answers if isinstance(answers, Answers) else None
