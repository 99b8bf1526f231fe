"""Connections of our own: a pool that is full must not push the process into bypass, which would fill it more."""

from __future__ import annotations

from typing import Any, Final

import asyncpg
from guillotina.db.storages.pg import PostgresqlStorage

#: Seconds that a connection attempt may take before it counts as failed.
TIMEOUT: Final = 3.0


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
    allowed = ("ssl", "server_settings", "statement_cache_size", "max_cached_statement_lifetime")
    options = {name: value for name, value in storage._connection_options.items() if name in allowed}
    return await asyncpg.connect(dsn=storage._dsn, timeout=TIMEOUT, **options)
