"""An event is settled however its transaction ends; where the answer was lost, when the database knows (R9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

import asyncpg
import pytest
from guillotina.exceptions import ConflictError
from guillotina.transactions import transaction

from guillotina_groupcache.answers import was_answered
from guillotina_groupcache.changes import Changes
from guillotina_groupcache.commit import decorate
from guillotina_groupcache.constants import Source
from guillotina_groupcache.database import queries
from guillotina_groupcache.database.databases import Database
from guillotina_groupcache.interfaces import GroupcacheError
from tests.unit.life_app import TIMEOUT, App, add, object_key, set_title, title, until
from tests.unit.life_database import WAIT_IN_COMMIT, blocked, connected

REFUSE_IN_COMMIT = """
CREATE FUNCTION refuse_in_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = '%s', MESSAGE = 'refused';
END $$;
CREATE CONSTRAINT TRIGGER refuse_in_commit AFTER UPDATE ON objects DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION refuse_in_commit()
"""
WAITING_IN_COMMIT = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@asynccontextmanager
async def in_commit(app: App, dsn: str, oid: str) -> AsyncIterator[tuple[asyncio.Task[None], asyncpg.Connection]]:
    """A write that waits in COMMIT while the block runs, and a connection of the test's own."""
    async with connected(dsn) as connection:
        await connection.execute(WAIT_IN_COMMIT)
        await connection.execute("SELECT pg_advisory_lock(42)")
        writer = asyncio.ensure_future(set_title(app, oid, "new"))
        try:
            await blocked(dsn)
            yield writer, connection
        finally:
            await connection.execute("SELECT pg_advisory_unlock_all()")
            await asyncio.wait([writer], timeout=TIMEOUT)


def in_doubt(app: App) -> int:
    return int(app.utility.local_stats()["buckets_in_doubt"])


async def source(app: App, oid: str) -> Source:
    _, found = await app.utility.reads.get(object_key(oid))
    return found


async def no_doubt(app: App) -> None:
    await until(lambda: not in_doubt(app), "no bucket in doubt")


# --- transactions


async def test_a_commit_is_announced_and_settled(app: App) -> None:
    oid = await add(app, "c", "Container")
    before = app.utility.local_stats()["events"]
    await set_title(app, oid, "new")
    events = app.utility.local_stats()["events"]
    assert [events[name] - before[name] for name in ("announced", "cleared", "settled")] == [1, 1, 1]
    assert await source(app, oid) is Source.OWN
    assert await title(app, oid) == "new"


async def test_a_transaction_that_wrote_nothing_announces_nothing(app: App) -> None:
    oid = await add(app, "c", "Container")
    before = app.utility.local_stats()["events"]
    async with transaction(db=app.database) as txn:
        await txn.get(oid)
    async with transaction(db=app.database, abort_when_done=True) as txn:
        (await txn.get(oid)).register()
    assert app.utility.local_stats()["events"] == before
    assert await source(app, oid) is Source.OWN


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("everything", [False, True])
async def test_an_invalidation_by_the_application_is_announced_once(app: App, writes: bool, everything: bool) -> None:
    """A key that is not ours means everything, as its meaning is not known."""
    named, other, written = [await add(app, id_, "Container") for id_ in ("named", "other", "written")]
    reads = app.utility.reads
    versions = [reads.version(object_key(oid)) for oid in (named, other)]
    announced = app.utility.local_stats()["events"]["announced"]
    async with transaction(db=app.database) as txn:
        await txn._cache.delete_all(["a key of another cache" if everything else object_key(named)])
        if writes:
            content = await txn.get(written)
            content.title = "new"
            content.register()
    assert app.utility.local_stats()["events"]["announced"] == announced + 1
    bumped = [reads.version(object_key(oid)) != was for oid, was in zip((named, other), versions, strict=True)]
    assert bumped == [True, everything]


async def test_a_storage_is_decorated_once(app: App) -> None:
    commit = app.database.storage.commit
    decorate(app.database.storage, app.utility)
    assert app.database.storage.commit is commit


@pytest.mark.parametrize("sqlstate", ["40001", "23514", "P0001"])
async def test_a_commit_that_the_database_refuses(app: App, database: str, sqlstate: str) -> None:
    oid = await add(app, "c", "Container")
    async with connected(database) as connection:
        await connection.execute(REFUSE_IN_COMMIT % sqlstate)
    with pytest.raises((asyncpg.PostgresError, ConflictError)):
        await set_title(app, oid, "new")
    assert not in_doubt(app)
    assert app.utility.local_stats()["events"]["open"] == 0
    assert await title(app, oid) == "c"
    assert await source(app, oid) is Source.OWN


async def test_in_doubt_while_the_commit_is_under_way(app: App, database: str) -> None:
    oid = await add(app, "c", "Container")
    async with in_commit(app, database, oid) as (writer, connection):
        assert in_doubt(app)
        assert await title(app, oid) == "c"
        assert await source(app, oid) is Source.BYPASS
        await connection.execute("SELECT pg_advisory_unlock_all()")
        await asyncio.wait_for(writer, TIMEOUT)
        assert not in_doubt(app)
        assert await title(app, oid) == "new"
        assert await source(app, oid) is Source.OWN


async def test_a_server_process_that_is_ended_in_commit(app: App, database: str) -> None:
    """It rolls back, but the writer gets no answer."""
    oid = await add(app, "c", "Container")
    assert await title(app, oid) == "c"
    async with in_commit(app, database, oid) as (writer, connection):
        pid = await connection.fetchval(WAITING_IN_COMMIT)
        assert await connection.fetchval("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await asyncio.wait_for(asyncio.shield(writer), TIMEOUT)
        await no_doubt(app)
        assert app.utility.local_stats()["events"]["orphans"] == 1
        assert await title(app, oid) == "c"
    await set_title(app, oid, "newer")
    assert await title(app, oid) == "newer"
    assert await source(app, oid) is Source.OWN


async def test_a_connection_that_is_lost_in_a_commit_that_takes_effect(app: App, database: str) -> None:
    """Its keys stay in doubt as long as the database may still commit, and then the new state is seen."""
    oid = await add(app, "c", "Container")
    assert await source(app, oid) is Source.OWN
    async with in_commit(app, database, oid) as (writer, connection):
        held = [holder._con for holder in app.database.storage.pool._holders if holder._in_use]
        for connection_of_the_writer in held:
            connection_of_the_writer.terminate()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await asyncio.wait_for(asyncio.shield(writer), TIMEOUT)
        await asked_twice(app)
        assert in_doubt(app)
        assert await title(app, oid) == "c"
        assert await source(app, oid) is Source.BYPASS
        await connection.execute("SELECT pg_advisory_unlock_all()")
        await no_doubt(app)
        assert await title(app, oid) == "new"
        assert await source(app, oid) is Source.OWN


async def asked_twice(app: App) -> None:
    """Wait until the database was queried twice, from now on, for open transactions."""
    asked = []
    open_in = queries.open_in

    async def counted(database: Database) -> list[str]:
        asked.append(await open_in(database))
        return asked[-1]

    with patch.object(queries, "open_in", counted):
        await until(lambda: len(asked) >= 2, "two queries of the database")
    assert all(asked), "the writer's transaction is open"


async def test_a_request_that_is_cancelled_in_its_commit(app: App, database: str) -> None:
    """Guillotina shields the commit: it goes on, and settles."""
    oid = await add(app, "c", "Container")
    async with in_commit(app, database, oid) as (writer, connection):
        writer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writer
        assert in_doubt(app)
        await connection.execute("SELECT pg_advisory_unlock_all()")
        await no_doubt(app)
        assert await title(app, oid) == "new"


async def test_the_end_of_the_process_in_a_commit(app: App, database: str) -> None:
    """Nothing hangs, and the commit is done."""
    oid = await add(app, "c", "Container")
    async with in_commit(app, database, oid) as (writer, connection):
        await asyncio.wait_for(app.utility.finalize(), TIMEOUT)
        await connection.execute("SELECT pg_advisory_unlock_all()")
        await asyncio.wait_for(writer, TIMEOUT)
    assert await title(app, oid) == "new"


# --- the block of `announced`


async def test_announced_settles_on_success_with_its_pushes(app: App) -> None:
    key, value = object_key("0" * 32), b"value"
    async with app.utility.events.announced("db", Changes([key])) as pushes:
        pushes.append((key, value))
        assert in_doubt(app) == 1
    assert in_doubt(app) == 0
    assert app.utility._node is not None
    found = app.utility._node.get(key)
    assert found is not None and (found.source, found.value) == (Source.OWN, value)


@pytest.mark.parametrize(
    "error", [ConflictError.__new__(ConflictError), OSError("lost"), asyncio.CancelledError()], ids=repr
)
async def test_announced_gives_the_blocks_own_error(app: App, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        async with app.utility.events.announced("db", Changes([object_key("1" * 32)])) as pushes:
            pushes.append((object_key("1" * 32), b"never"))
            raise error
    assert caught.value is error
    assert (in_doubt(app) == 0) is was_answered(error)
    await no_doubt(app)
    assert app.utility._node is not None
    assert not isinstance(app.utility._node.get(object_key("1" * 32)), tuple)


async def test_nothing_is_done_that_could_not_be_announced(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    oid = await add(app, "c", "Container")
    monkeypatch.setattr("guillotina_groupcache.events.ANNOUNCE_TIMEOUT", 0.0)
    with pytest.raises(GroupcacheError, match="could not be announced"):
        await set_title(app, oid, "new")
    monkeypatch.undo()
    assert not in_doubt(app)
    assert await title(app, oid) == "c"
    await set_title(app, oid, "newer")
    assert await title(app, oid) == "newer"
