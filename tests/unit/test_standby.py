"""No value is cached that came over a connection of Guillotina's pool to a server in recovery."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from guillotina_groupcache.constants import Source
from guillotina_groupcache.database.loader import Loader
from harness.postgres_embedded import EmbeddedPostgres
from harness.postgres_losses import begin_in_recovery
from tests.unit.life_app import TIMEOUT, App, add, object_key, running
from tests.unit.life_members import execute


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async def wait() -> None:
        while not await condition():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), TIMEOUT)


async def is_reconnected(app: App) -> bool:
    """The pool notices that a connection was lost only when it is used."""
    try:
        async with app.database.storage.pool.acquire() as connection:
            return bool(await connection.fetchval("SELECT pg_is_in_recovery()"))
    except Exception:
        return False


async def test_a_load_over_a_connection_to_a_standby_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedPostgres() as server:
        async with running(server.dsn(), {"peers": []}, pool_size=1) as app:
            oid = await add(app, "c", "Container")
            loader = Loader()
            loader.add(app.database)
            wanted = [object_key(oid)]
            before = await loader.load(wanted)
            assert before != [None]
            server.stop()
            begin_in_recovery(server, "standby.signal")
            await eventually(lambda: is_reconnected(app))
            for _ in range(3):
                assert await loader.load(wanted) == [None]
                value, source = await app.utility.reads.get(object_key("f" * 32))
                assert (value, source) == (None, Source.NOWHERE), "Guillotina's own load follows"
            said = [r for r in caplog.records if r.levelno == logging.WARNING and "in recovery" in r.getMessage()]
            assert len(said) == 2, "each of the two loaders logs it once"
            await execute(server, "SELECT pg_promote()")

            async def is_loaded() -> bool:
                return await loader.load(wanted) == before

            await eventually(is_loaded)
