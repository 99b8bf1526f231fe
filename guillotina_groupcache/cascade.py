"""The rows that a deletion takes with it: locked and read in the transaction that deletes them (R11).

PostgreSQL deletes all rows below an object by itself (ON DELETE CASCADE). Which rows these are can be known only under
locks: an INSERT below a locked row waits, and fails once that row is gone. So the rows are locked level by level, each
level in the order of its ids. The transaction is READ COMMITTED, so the statement that locks a level sees every row
that was committed before the level above it was locked.

Everything happens on one connection, before anything is in doubt: PostgreSQL cannot see a deadlock that runs through a
second connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from guillotina_groupcache.changes import Changes
from guillotina_groupcache.keys import record_keys

if TYPE_CHECKING:
    from guillotina_groupcache.utility import GroupcacheUtility

#: The most rows of one deletion whose keys are announced; beyond it everything is bumped.
MAX_ROWS: Final = 1000

#: With this lock the transaction counts among those that write (R6), and it waits for DDL before anything is in doubt.
_WRITE: Final = "LOCK TABLE {table} IN ROW EXCLUSIVE MODE"
_ROWS: Final = "SELECT zoid, parent_id, id, of FROM {table} WHERE zoid = ANY($1) ORDER BY zoid FOR UPDATE"
_BELOW: Final = """
SELECT zoid, parent_id, id, of FROM {table}
WHERE (parent_id = ANY($1) OR of = ANY($1)) AND zoid <> ALL($2) ORDER BY zoid LIMIT $3 FOR UPDATE
"""


class Deletion:
    """A database transaction that deletes, or moves to the trash, and what it changes by that."""

    __slots__ = ("_connection", "_database", "_mark", "_table", "changes")

    def __init__(self, connection: asyncpg.Connection, database: str, table: str, mark: str, changes: Changes) -> None:
        self._connection = connection
        self.changes = changes
        self._database = database
        self._table = table
        self._mark = mark

    async def lock(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Lock the rows that a query gives, add the keys under which they are found, and return them."""
        rows: list[asyncpg.Record] = await self._connection.fetch(statement.format(table=self._table), *arguments)
        for row in rows:
            self.changes.keys.update(record_keys(self._database, row, with_lists=True))
        return rows

    async def write(self, statement: str, *arguments: Any) -> None:
        """Execute a statement, with the mark of announced ones, that changes locked rows."""
        await self._connection.execute(self._mark + statement.format(table=self._table), *arguments)

    async def lock_tree(self, oids: Collection[str]) -> bool:
        """Lock rows and all rows below them; return whether any of the former exists."""
        level = await self.lock(_ROWS, oids)
        found, locked = bool(level), []
        while level:
            above = [row["zoid"] for row in level]
            locked += above
            level = await self.lock(_BELOW, above, locked, MAX_ROWS + 1 - len(locked))
            if len(locked) + len(level) > MAX_ROWS:
                self.changes.everything = True
                break
        return found


@asynccontextmanager
async def deletion(utility: GroupcacheUtility, database: str, storage: Any) -> AsyncIterator[Deletion]:
    """`Events.transaction` on one connection of the storage's pool. Raises also what the pool raises."""
    connection = await storage.pool.acquire(timeout=storage._conn_acquire_timeout)
    try:
        async with utility.events.transaction(database, connection) as changes:
            await connection.execute(_WRITE.format(table=storage.objects_table_name))
            mark, outside = utility.members.mark_of(storage), utility.members.outside_writes_of(storage)
            yield Deletion(connection, database, storage.objects_table_name, mark, changes)
            if outside is not None:
                # Triggers, the application's too, may have changed rows that were not locked here.
                changes.add(*await outside.take(connection))
    finally:
        # This ends a connection that does not answer; the pool's own `async with` would wait for it without a limit.
        await storage.close(connection)
