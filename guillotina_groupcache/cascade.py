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
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from guillotina_groupcache.announcing import Changes, announced_transaction
from guillotina_groupcache.keys import record_keys

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

    __slots__ = ("_connection", "_database", "_mark", "_table", "changes")

    def __init__(self, connection: asyncpg.Connection, database: str, table: str, mark: str, changes: Changes) -> None:
        self._connection = connection
        self.changes = changes
        self._database = database
        self._table = table
        self._mark = mark

    async def lock(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Lock the rows that a query of places gives, note by which keys they are found, and return them."""
        rows: list[asyncpg.Record] = await self._connection.fetch(statement.format(table=self._table), *arguments)
        for row in rows:
            self.changes.keys.update(record_keys(self._database, row, with_lists=True))
        return rows

    async def write(self, statement: str, *arguments: Any) -> None:
        """Change rows that were locked."""
        await self._connection.execute(self._mark + statement.format(table=self._table), *arguments)

    async def lock_tree(self, oids: Collection[str]) -> bool:
        """Lock rows and all below them; whether any of the rows themselves is there."""
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
    """`announced_transaction` on one connection of the storage's pool. Raises also what the pool raises."""
    connection = await storage.pool.acquire(timeout=storage._conn_acquire_timeout)
    try:
        async with announced_transaction(utility, database, connection) as changes:
            await connection.execute(_WRITE.format(table=storage.objects_table_name))
            yield Deletion(connection, database, storage.objects_table_name, utility.mark_of(storage), changes)
            # What triggers have written, the application's too, is noted, but by what is locked it may not be known.
            noted, everything = await utility.take_notes(storage, connection)
            changes.keys |= noted
            changes.everything |= everything
    finally:
        # Which ends one that does not answer; to leave the pool's own block would wait for it without end.
        await storage.close(connection)
