"""Connections of our own: a pool that is full must not push the process into bypass, which would fill it more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import asyncpg
from guillotina.db.storages.pg import PostgresqlStorage

#: Seconds that a connection attempt may take before it counts as failed.
TIMEOUT: Final = 3.0
#: What `pg_stat_activity` and the server's log call such a connection, whatever the pool's are called.
APPLICATION: Final = "guillotina_groupcache"


class Line:
    """One connection to a storage's database, made when it is needed and again when it was lost."""

    __slots__ = ("_connection", "reconnected", "storage")

    def __init__(self, storage: PostgresqlStorage) -> None:
        self.storage = storage
        #: Whether the connection was made anew since somebody has taken note of it.
        self.reconnected = False
        self._connection: asyncpg.Connection | None = None

    async def connection(self) -> asyncpg.Connection:
        """The connection. Raises what asyncpg raises where there is none to be had."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self.storage)
            self.reconnected = True
        return self._connection

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement and return its rows."""
        rows: list[asyncpg.Record] = await (await self.connection()).fetch(statement, *arguments)
        return rows

    def disconnect(self) -> None:
        """End the connection at once: after a statement that was given up it is of no more use."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


async def connect(storage: PostgresqlStorage) -> asyncpg.Connection:
    """A connection to a storage's database that is not of its pool, with the pool's options for one."""
    return await connect_to(storage._dsn, storage._connection_options)


async def connect_to(dsn: str | None, options: Mapping[str, Any]) -> asyncpg.Connection:
    """The same by the URL of a database and the options of a pool. The server lists it under the add-on's name."""
    allowed = ("ssl", "statement_cache_size", "max_cached_statement_lifetime")
    taken = {name: value for name, value in options.items() if name in allowed}
    server = {**(options.get("server_settings") or {}), "application_name": APPLICATION}
    return await asyncpg.connect(dsn=dsn, timeout=TIMEOUT, server_settings=server, **taken)
