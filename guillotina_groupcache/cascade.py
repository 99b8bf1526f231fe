"""What a deletion takes with it: its rows are locked and read in the transaction that deletes them (R11).

PostgreSQL deletes everything below an object (ON DELETE CASCADE) without anyone naming it. What that is can be known
only under locks: an INSERT below a locked row waits, and fails once that row is gone. So the rows are locked level by
level, each level in the order of its ids; what is committed below a level before its rows are locked is seen by the
statement that asks for the next one, as the transaction is READ COMMITTED.

Everything happens on one connection, and nothing is in doubt meanwhile: a lock that was waited for on another
connection would close a circle that PostgreSQL cannot see.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from guillotina_groupcache.announcing import Answers, announced
from guillotina_groupcache.changes import record_keys

if TYPE_CHECKING:
    from guillotina_groupcache.utility import GroupcacheUtility

#: Rows of one deletion that are named one by one; beyond, everything is bumped.
MAX_ROWS: Final = 1000

#: The database counts the transaction among those that write (R6), and DDL is waited for while nothing is in doubt.
_WRITE: Final = "LOCK TABLE {table} IN ROW EXCLUSIVE MODE"
_ROWS: Final = "SELECT zoid, parent_id, id, of FROM {table} WHERE zoid = ANY($1) ORDER BY zoid FOR UPDATE"
_BELOW: Final = """
SELECT zoid, parent_id, id, of FROM {table}
WHERE (parent_id = ANY($1) OR of = ANY($1)) AND zoid <> ALL($2) ORDER BY zoid LIMIT $3 FOR UPDATE
"""


class Deletion:
    """A database transaction that deletes, or moves to the trash, and what it changes by that."""

    __slots__ = ("_database", "_table", "changed", "connection", "everything")

    def __init__(self, connection: asyncpg.Connection, database: str, table: str) -> None:
        self.connection = connection
        self._database = database
        self._table = table
        #: The keys whose values change, and whether they are too many.
        self.changed: set[bytes] = set()
        self.everything = False

    async def lock(self, statement: str, *arguments: Any) -> list[str]:
        """Lock the rows that a query of their places gives, note what is found under them, and give their ids."""
        rows = await self.connection.fetch(statement.format(table=self._table), *arguments)
        for row in rows:
            self.changed.update(record_keys(self._database, row, with_lists=True))
        return [row["zoid"] for row in rows]

    async def lock_tree(self, oids: Collection[str]) -> list[str]:
        """Lock rows and all below them, and give the ids of the rows themselves that are there."""
        found = level = await self.lock(_ROWS, oids)
        locked: list[str] = []
        while level:
            locked += level
            level = await self.lock(_BELOW, level, locked, MAX_ROWS + 1 - len(locked))
            if len(locked) + len(level) > MAX_ROWS:
                self.everything = True
                break
        return found


@asynccontextmanager
async def deletion(utility: GroupcacheUtility, database: str, storage: Any) -> AsyncIterator[Deletion]:
    """A transaction on one connection of the storage's pool, announced after its last statement and committed.

    Where it changes nothing it is rolled back, and nothing is announced. Raises what the database and the pool
    raise, and `GroupcacheError` where it could not be announced; then it is rolled back.
    """
    table = storage.objects_table_name
    async with storage.pool.acquire(timeout=storage._conn_acquire_timeout) as connection:
        # Whatever the server's own default: a snapshot that is older than a lock would miss what came between.
        transaction = connection.transaction(isolation="read_committed")
        answers = transaction._connection = Answers(transaction._connection)
        await transaction.start()
        try:
            await connection.execute(_WRITE.format(table=table))
            work = Deletion(connection, database, table)
            yield work
            if not work.changed and not work.everything:
                await transaction.rollback()
                return
            async with announced(utility, database, work.changed, work.everything, answers):
                await transaction.commit()
        except BaseException:
            # asyncpg refuses after a COMMIT that has failed; the pool takes care of such a connection.
            with suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
                await transaction.rollback()
            raise
