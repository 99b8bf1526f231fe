"""The vacuum's work on one object, and what a test sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from tests.unit import life_app as life
from tests.unit.life_database import connected


def work_of(app: life.App, oid: str) -> asyncio.Future[None]:
    """The vacuum's work on one object, under way."""
    storage = app.database.storage
    return asyncio.ensure_future(storage.connection_manager.vacuum.vacuum(oid, storage.objects_table_name))


async def done(work: Awaitable[Any]) -> None:
    """Wait for work that must not hang."""
    await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(work)), life.TIMEOUT)  # type: ignore[arg-type]


async def value(app: life.App, oid: str) -> Any:
    """What the cache gives for an object."""
    found, _ = await app.utility.reads.get(life.object_key(oid))
    return found


async def exists(connection: asyncpg.Connection, oid: str) -> bool:
    """Whether the database has an object's row."""
    return bool(await connection.fetchval("SELECT true FROM objects WHERE zoid = $1", oid))


@asynccontextmanager
async def row_locked(dsn: str, oid: str) -> AsyncIterator[asyncpg.Connection]:
    """Another transaction holds a row while the block runs, or until the block commits."""
    async with connected(dsn) as connection:
        await connection.execute("BEGIN")
        await connection.execute("SELECT 1 FROM objects WHERE zoid = $1 FOR UPDATE", oid)
        yield connection
