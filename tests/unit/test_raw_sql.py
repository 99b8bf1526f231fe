"""Raw SQL over Guillotina's connections: inside a transaction it is announced, outside of one it is noted (R14)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest
from guillotina.transactions import transaction

from tests.unit.life_app import TIMEOUT, App, add, object_key, running, set_title, title
from tests.unit.life_database import connected

TOUCH = "UPDATE objects SET state = (SELECT state FROM objects WHERE zoid = $2) WHERE zoid = $1"
INSTALLED = "SELECT count(*) = 5 FROM pg_trigger WHERE tgname LIKE '%groupcache%' AND tgenabled = 'A'"
COUNT = "SELECT count(*) FROM groupcache_outside_writes"


@pytest.fixture(params=[None, pytest.param({"peers": []}, marks=pytest.mark.soak)], ids=["member", "alone"])
async def app(database: str, request: pytest.FixtureRequest) -> AsyncIterator[App]:
    """A member of a cluster, or a process that is alone."""
    async with running(database, request.param) as app, connected(database) as connection:
        # The triggers exist, and the note of their installation was applied.
        await eventually(lambda: connection.fetchval(INSTALLED))
        await eventually(lambda: connection.fetchval(f"SELECT ({COUNT}) = 0"))
        yield app


async def eventually(condition: Callable[[], Awaitable[Any]]) -> None:
    """Wait until an asynchronous condition is true. Raises `TimeoutError`."""
    deadline = time.monotonic() + TIMEOUT
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {TIMEOUT:.0f} s in vain")
        await asyncio.sleep(0.05)


@contextmanager
def announcements(app: App) -> Iterator[list[tuple[set[bytes], bool]]]:
    """Collect what is announced while the block runs."""
    events: list[tuple[set[bytes], bool]] = []
    announce = app.utility.events.announce

    async def kept(database: str, changed: Any, everything: bool = False) -> int:
        events.append((set(changed), everything))
        return await announce(database, events[-1][0], everything)

    app.utility.events.announce = kept  # type: ignore[method-assign]
    try:
        yield events
    finally:
        del app.utility.events.announce  # type: ignore[method-assign]


async def test_raw_sql_in_a_transaction_is_in_its_event(app: App, database: str) -> None:
    first, second = await add(app, "first"), await add(app, "second")
    await set_title(app, second, "of second")
    assert await title(app, first) == "first"
    with announcements(app) as events:
        async with transaction(db=app.database) as txn:
            await txn.initialize_tid()
            await txn.storage.start_transaction(txn)
            connection = await txn.get_connection()
            await connection.execute(TOUCH, first, second)
    ((changed, everything),) = events
    assert object_key(first) in changed and object_key(second) not in changed and not everything
    assert await title(app, first) == "of second", "at once, not with the next view"
    async with connected(database) as connection:
        assert await connection.fetchval(COUNT) == 0, "no process has to read a note of what was announced"


async def test_raw_sql_beside_stores_of_guillotina(app: App) -> None:
    first, second = await add(app, "first"), await add(app, "second")
    assert [await title(app, oid) for oid in (first, second)] == ["first", "second"]
    with announcements(app) as events:
        async with transaction(db=app.database) as txn:
            await txn.initialize_tid()
            await txn.storage.start_transaction(txn)
            connection = await txn.get_connection()
            async with connection.transaction():
                await connection.execute(TOUCH, first, second)
            content = await txn.get(second)
            content.title = "new"
            content.register()
    ((changed, everything),) = events
    assert {object_key(first), object_key(second)} <= changed and not everything
    assert [await title(app, oid) for oid in (first, second)] == ["second", "new"]


async def test_raw_sql_that_is_rolled_back_is_in_no_event(app: App) -> None:
    first, second = await add(app, "first"), await add(app, "second")
    with announcements(app) as events:
        async with transaction(db=app.database) as txn:
            await txn.initialize_tid()
            await txn.storage.start_transaction(txn)
            connection = await txn.get_connection()
            with pytest.raises(asyncpg.PostgresError):
                async with connection.transaction():
                    await connection.execute(TOUCH, first, second)
                    await connection.execute("nonsense")
            content = await txn.get(second)
            content.title = "new"
            content.register()
    ((changed, _),) = events
    assert object_key(first) not in changed and object_key(second) in changed


async def test_beyond_the_bound_raw_sql_is_everything(app: App) -> None:
    with announcements(app) as events:
        async with transaction(db=app.database) as txn:
            await txn.initialize_tid()
            await txn.storage.start_transaction(txn)
            await (await txn.get_connection()).execute(
                "INSERT INTO objects (zoid, tid, state_size, part, resource, type)"
                " SELECT 'x' || s, 1, 0, 0, true, 'Item' FROM generate_series(1, 2000) AS s"
            )
    assert [everything for _, everything in events] == [True]


async def test_a_failed_transaction_ends_as_without_the_cache(app: App) -> None:
    first = await add(app, "first")
    async with transaction(db=app.database) as txn:
        await txn.initialize_tid()
        await txn.storage.start_transaction(txn)
        connection = await txn.get_connection()
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute("nonsense")
    assert await title(app, first) == "first"


@pytest.mark.parametrize("through", ["connection", "pool"])
async def test_raw_sql_past_a_transaction_is_seen_with_the_next_view(app: App, through: str) -> None:
    first, second = await add(app, "first"), await add(app, "second")
    assert await title(app, first) == "first"
    async with transaction(db=app.database) as txn:
        if through == "connection":
            await (await txn.get_connection()).execute(TOUCH, first, second)
        else:
            async with txn.storage.pool.acquire() as connection:
                await connection.execute(TOUCH, first, second)

    async def is_seen() -> bool:
        return await title(app, first) == "second"

    await eventually(is_seen)
    await set_title(app, first, "a member's write of an object that it has read since is no conflict")
