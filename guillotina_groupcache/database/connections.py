"""Connections of our own, outside the storage's pool: a full pool must not push the process into bypass.

A process in bypass reads from the database directly, which would fill the pool even more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

import asyncpg
from guillotina.db.storages.pg import PostgresqlStorage

#: Seconds that a connection attempt may take before it counts as failed.
TIMEOUT: Final = 3.0
#: Seconds that statements which are given up may take to end.
END_TIMEOUT: Final = 2.0
#: What a database raises that does not answer, or refuses a statement.
ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.TimeoutError)
#: What `pg_stat_activity` and the server's log call such a connection, whatever the pool's are called.
APPLICATION: Final = "guillotina_groupcache"


class OwnConnection:
    """One connection to a storage's database, made when it is needed and again after it was lost."""

    def __init__(self, storage: PostgresqlStorage) -> None:
        self.storage = storage
        #: Whether the connection was made again; a reader that has noticed resets it.
        self.reconnected = False
        self._connection: asyncpg.Connection | None = None

    async def get(self) -> asyncpg.Connection:
        """The connection. Raises what asyncpg raises where none can be made."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self.storage)
            self.reconnected = True
        return self._connection

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement and return its rows."""
        rows: list[asyncpg.Record] = await (await self.get()).fetch(statement, *arguments)
        return rows

    def disconnect(self) -> None:
        """End the connection at once: one whose statement was given up is of no more use."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


async def connect(storage: PostgresqlStorage) -> asyncpg.Connection:
    """Connect to a storage's database with the options of its pool, but outside the pool."""
    return await connect_to(storage._dsn, storage._connection_options)


async def connect_to(dsn: str | None, options: Mapping[str, Any]) -> asyncpg.Connection:
    """Connect to the database of a URL with the options of a pool. The server lists it under the add-on's name."""
    allowed = ("ssl", "statement_cache_size", "max_cached_statement_lifetime")
    taken = {name: value for name, value in options.items() if name in allowed}
    server = {**(options.get("server_settings") or {}), "application_name": APPLICATION}
    return await asyncpg.connect(dsn=dsn, timeout=TIMEOUT, server_settings=server, **taken)


async def make_tables(make: Callable[[], Awaitable[None]]) -> None:
    """Call a function that makes tables, up to three times where another process makes them at the same moment."""
    for attempt in (1, 2, 3):
        try:
            return await make()
        except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError):
            if attempt == 3:
                raise


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks that use a database, and wait until they have ended, for at most three times `END_TIMEOUT`."""
    # A wait that ends just as it is cancelled may swallow the cancellation (Python 3.11 and earlier).
    for _ in range(3):
        for task in tasks:
            task.cancel()
        if tasks:
            _, tasks = await asyncio.wait(tasks, timeout=END_TIMEOUT)
