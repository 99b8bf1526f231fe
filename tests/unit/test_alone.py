"""A process that is alone (`peers: []`) has no views: what it does when it cannot look at its database (R14)."""

from __future__ import annotations

import asyncio
import logging

import asyncpg
import pytest
from guillotina.transactions import transaction

from guillotina_groupcache.database import alone as module
from guillotina_groupcache.database.alone import Alone
from harness.postgres_server import PostgresServer
from tests.unit.life_app import App, add, running, title, until
from tests.unit.life_database import connected
from tests.unit.life_members import storage_of
from tests.unit.life_triggers import make
from tests.unit.test_raw_sql import TOUCH

OBJECTS = "CREATE TABLE objects (zoid TEXT PRIMARY KEY)"
CLAIMS = "SELECT cluster FROM groupcache_served"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = $2"


async def change(app: App, oid: str, like: str) -> None:
    """Change a row past the cache, over a connection of the pool."""
    async with transaction(db=app.database) as txn, txn.storage.pool.acquire() as connection:
        await connection.execute(TOUCH, oid, like)


async def test_a_process_that_cannot_look_serves_nothing(
    database: str, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "guillotina_groupcache")
    name = database.rpartition("/")[2]

    def in_doubt() -> bool:
        return bool(app.utility.local_stats()["buckets_in_doubt"])

    async with running(database, {"peers": []}) as app:
        first, second = await add(app, "first"), await add(app, "second")
        assert await title(app, first) == "first"
        outside = await asyncpg.connect(postgres.dsn())
        try:
            await outside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await outside.fetch(END, name, "guillotina_groupcache")
            await until(in_doubt, "everything in doubt")
            await change(app, first, second)
            assert await title(app, first) == "second", "it comes from the database, which the pool still reaches"
            await outside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await until(lambda: not in_doubt(), "no doubt")
        finally:
            await outside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await outside.close()
        assert await title(app, first) == "second"
        hits = app.utility.local_stats()["hits"]
        assert await title(app, first) == "second" and app.utility.local_stats()["hits"] != hits, "and is cached again"
    logged = [record.getMessage() for record in caplog.records if record.name == "guillotina_groupcache"]
    assert len([line for line in logged if "cannot be looked at" in line]) == 1
    assert len([line for line in logged if "can be looked at again" in line]) == 1


async def test_a_claim_is_given_up_at_whatever_moment_the_process_ends(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that is cancelled in its BEGIN leaves the transaction open: a release in that would be lost with it."""
    monkeypatch.setattr(module, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(module, "REFRESH_EVERY", 0.0)
    async with connected(database) as connection:
        await connection.execute(OBJECTS)
        for steps in range(0, 120, 3):
            alone = Alone(print, print)
            await alone.claim("db", storage_of(database))
            for _ in range(steps):
                await asyncio.sleep(0)
            await alone.stop()
            assert await connection.fetch(CLAIMS) == [], f"the process ended after {steps} steps of the event loop"


async def test_a_process_that_loses_a_database_serves_the_others(database: str, postgres: PostgresServer) -> None:
    """What was in doubt only because of that database must not stay in doubt."""
    name = database.rpartition("/")[2]
    lost: list[str] = []
    trusted: list[bool] = []
    async with connected(database) as connection, connected(postgres.dsn()) as outside:
        await make(connection)
        alone = Alone(lost.append, trusted.append)
        await alone.claim("db", storage_of(database))
        try:
            await outside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await outside.fetch(END, name, "guillotina_groupcache")
            await until(lambda: trusted, "nothing to be served")
            await connection.execute("UPDATE groupcache_served SET cluster = 'another', seen = now()")
            await outside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await until(lambda: lost, "the claim to be lost")
            assert (lost, trusted) == (["db"], [False, True])
        finally:
            await outside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await alone.stop()
