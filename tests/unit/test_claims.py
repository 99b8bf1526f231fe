"""R15 on a real database: which cluster may serve an objects table, and how it takes over or loses a claim."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from guillotina_groupcache.database import claims
from guillotina_groupcache.database.claims import Claim, cluster_alone, cluster_of
from guillotina_groupcache.interfaces import ConfigurationError
from tests.unit.life_database import TIMEOUT, connected
from tests.unit.life_members import storage_of

OBJECTS = "CREATE TABLE objects (zoid TEXT PRIMARY KEY)"
OTHERS = "SELECT cluster, database FROM groupcache_served"


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with an objects table."""
    async with connected(database) as connection:
        await connection.execute(OBJECTS)
        yield connection


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take over a claim that stands still sooner, though not before a living process renews it."""
    monkeypatch.setattr(claims, "PROOF", 1.5 * claims.RENEW_AFTER)


def claim_of(database: str, schema: str = "public") -> Claim:
    storage = storage_of("nowhere")
    storage._db_schema, storage.objects_table_name = schema, f"{schema}.objects"
    return Claim(database, storage)


@asynccontextmanager
async def living(dsn: str, cluster: str, is_killed: bool = False) -> AsyncIterator[Claim]:
    """A process that serves the table and renews its claim all the time, over a connection of its own."""
    async with connected(dsn) as connection:
        claim = claim_of("db")
        await claim.acquire(connection, cluster)

        async def renew() -> None:
            while True:
                await claim.refresh(connection, cluster)
                await asyncio.sleep(0.05)

        task = asyncio.ensure_future(renew())
        try:
            yield claim
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not is_killed:
                # A cancelled BEGIN has left its transaction open: the connection is of no more use.
                async with connected(dsn) as another:
                    await claim.release(another, cluster)


async def refused(connection: asyncpg.Connection, cluster: str, database: str = "db", schema: str = "public") -> str:
    """The message with which a claim is refused."""
    with pytest.raises(ConfigurationError) as caught:
        await asyncio.wait_for(claim_of(database, schema).acquire(connection, cluster), TIMEOUT)
    message = str(caught.value)
    assert "\n" not in message
    return message


async def test_one_cluster_serves_it_under_one_id(connection: asyncpg.Connection, database: str) -> None:
    cluster = await cluster_of(connection, "public")
    assert cluster == await cluster_of(connection, "PUBLIC"), "as PostgreSQL reads a name without quotes"
    begun = time.monotonic()
    async with living(database, cluster):
        await claim_of("db").acquire(connection, cluster)
        await claim_of("db", "Public").acquire(connection, cluster)
        assert time.monotonic() < begun + claims.PROOF, "one's own cluster is not waited for"
        assert await connection.fetch(OTHERS) == [(cluster, "db")]
        message = await refused(connection, cluster, "other", "PUBLIC")
    assert message.startswith(
        "databases: 'other': living processes serve its objects table PUBLIC.objects under the id 'db': give one id"
    )


async def test_a_cluster_with_its_members_table_elsewhere(connection: asyncpg.Connection, database: str) -> None:
    await connection.execute("CREATE SCHEMA elsewhere")
    (here, there), name = [await cluster_of(connection, schema) for schema in ("public", "elsewhere")], database
    assert here != there
    async with living(database, here):
        message = await refused(connection, there)
        assert f"the members table in the schema 'public' of the database {name.rpartition('/')[2]!r}: " in message
        assert message.startswith("databases: 'db': ") and "in the same order" in message
    async with living(database, "7/5/public"):
        assert "of the database 'one on another server'" in await refused(connection, here)


async def test_a_process_that_is_alone(connection: asyncpg.Connection, database: str) -> None:
    cluster, one, two = await cluster_of(connection, "public"), cluster_alone(1), cluster_alone(2)
    async with living(database, cluster):
        message = await refused(connection, one)
    assert message.startswith("groupcache.peers: [] is for the only process that uses a database, but of 'db': ")
    assert "as a cluster: take peers out" in message
    async with living(database, one):
        message = await refused(connection, cluster)
        assert "alone, by groupcache: {peers: []}: take that out of their configuration" in message
        assert "alone too: take peers out" in await refused(connection, two)
    assert await connection.fetch(OTHERS) == []
    await claim_of("db").acquire(connection, two)


async def test_a_claim_that_was_left_behind(_quick: None, connection: asyncpg.Connection) -> None:
    begun = time.monotonic()
    await claim_of("db").acquire(connection, "5/5/dead")
    await claim_of("other").acquire(connection, "5/6/alive")
    assert time.monotonic() >= begun + claims.PROOF
    assert await connection.fetch(OTHERS) == [("5/6/alive", "other")]


async def test_only_one_takes_what_was_left_behind(_quick: None, connection: asyncpg.Connection, database: str) -> None:
    await claim_of("db").acquire(connection, "5/5/dead")

    async def come(cluster: str) -> None:
        async with living(database, cluster):
            await asyncio.sleep(3 * claims.PROOF)

    ended = await asyncio.gather(*(come(f"5/{i}/public") for i in range(4)), return_exceptions=True)
    assert [type(error) for error in ended if error] == [ConfigurationError] * 3, ended


async def test_a_process_that_has_lost_its_claim(
    _quick: None, connection: asyncpg.Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not serve as long as the other cluster lives, and takes the table back after that."""
    stopped = claim_of("db")
    await stopped.acquire(connection, "5/5/public")
    async with living(database, "5/6/public", is_killed=True):
        until = time.monotonic() + 2 * claims.PROOF
        while time.monotonic() < until:
            assert not await stopped.refresh(connection, "5/5/public")
            await asyncio.sleep(0.05)
        assert stopped.is_lost
    (said,) = [record.getMessage() for record in caplog.records if "past the cache" in record.getMessage()]
    assert said.startswith("groupcache: the database db is read past the cache: databases: 'db': living processes")
    while not await stopped.refresh(connection, "5/5/public"):
        await asyncio.sleep(0.05)
    assert not stopped.is_lost and await connection.fetch(OTHERS) == [("5/5/public", "db")]


@pytest.mark.parametrize("seen", ["now() - interval '1 day'", "now() + interval '1 day'"])
async def test_the_claim_is_renewed_whatever_the_clock_did(connection: asyncpg.Connection, seen: str) -> None:
    claim = claim_of("db")
    await claim.acquire(connection, "5/5/public")
    await connection.execute(f"UPDATE groupcache_served SET seen = {seen}")
    assert await claim.refresh(connection, "5/5/public")
    now = "SELECT seen BETWEEN now() - interval '1 minute' AND clock_timestamp() FROM groupcache_served"
    assert await connection.fetchval(now)
    before = await connection.fetchval("SELECT seen FROM groupcache_served")
    assert await claim.refresh(connection, "5/5/public")
    assert await connection.fetchval("SELECT seen FROM groupcache_served") == before, "one renews it for all"


@pytest.mark.parametrize("statement", ["DELETE FROM groupcache_served", "DROP TABLE groupcache_served"])
async def test_what_was_removed_is_claimed_again(connection: asyncpg.Connection, statement: str) -> None:
    claim = claim_of("db")
    await claim.acquire(connection, "5/5/public")
    await connection.execute(statement)
    assert await claim.refresh(connection, "5/5/public")
    assert await connection.fetch(OTHERS) == [("5/5/public", "db")]


async def test_another_table_of_the_name_is_claimed_too(connection: asyncpg.Connection) -> None:
    claim = claim_of("db")
    await claim.acquire(connection, "5/5/public")
    await connection.execute("DROP TABLE objects")
    assert await claim.refresh(connection, "5/5/public"), "that there is none is for R13 to notice"
    await connection.execute(OBJECTS)
    assert await claim.refresh(connection, "5/5/public")
    assert await connection.fetchval("SELECT count(*) FROM groupcache_served") == 2


async def test_without_the_right_to_make_the_table(
    connection: asyncpg.Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    await connection.execute("CREATE ROLE groupcache_nobody; SET ROLE groupcache_nobody")
    try:
        claim = claim_of("db")
        await claim.acquire(connection, "5/5/public")
        assert await claim.refresh(connection, "5/5/public")
        await claim.release(connection, "5/5/public")
    finally:
        await connection.execute("RESET ROLE; DROP ROLE groupcache_nobody")
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("groupcache: public.groupcache_served cannot be used (permission denied for schema public)")
