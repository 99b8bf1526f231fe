"""Locks in the database that hold Guillotina up, so that a test can act in the middle of its work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

#: Seconds until what is waited for counts as failed.
TIMEOUT = 20.0

#: A transaction that updates an object waits in COMMIT, after its last statement, as long as the lock is held.
WAIT_IN_COMMIT = """
CREATE FUNCTION wait_in_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(42);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER wait_in_commit AFTER UPDATE ON objects DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait_in_commit()
"""

_WAITING = (
    "SELECT count(*) FROM pg_locks WHERE NOT granted AND (relation = 'objects'::regclass OR locktype = 'advisory')"
)
_WAITING_FOR_A_ROW = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"


@asynccontextmanager
async def locked(dsn: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Let no transaction read or write objects while the block runs, or until it calls the function that it gets."""
    async with connected(dsn) as connection:
        await connection.execute("BEGIN; LOCK TABLE objects IN ACCESS EXCLUSIVE MODE")

        async def release() -> None:
            await connection.execute("ROLLBACK")

        yield release


async def blocked(dsn: str, count: int = 1) -> None:
    """Wait until this many connections of the database wait for such a lock, or for an advisory one."""
    deadline = time.monotonic() + TIMEOUT
    async with connected(dsn) as connection:
        while await connection.fetchval(_WAITING) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {TIMEOUT:.0f} s in vain for {count} connections that wait for a lock")
            await asyncio.sleep(0.01)


async def blocked_on_row(dsn: str) -> None:
    """Wait until a connection of the database waits for a row that another transaction has locked."""
    deadline = time.monotonic() + TIMEOUT
    async with connected(dsn) as connection:
        while not await connection.fetchval(_WAITING_FOR_A_ROW):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {TIMEOUT:.0f} s in vain for a wait for a row")
            await asyncio.sleep(0.01)


@asynccontextmanager
async def connected(dsn: str, **settings: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own, with these settings of the server."""
    connection = await asyncpg.connect(dsn, timeout=TIMEOUT, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close(timeout=TIMEOUT)
