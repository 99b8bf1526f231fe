"""COMMIT that is answered with ROLLBACK, and events that the answer to ROLLBACK settles (R8, R9)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg
import pytest

from guillotina_groupcache.answers import Answers
from tests.unit.life_app import DATABASE, App, add, set_title, title, uncached
from tests.unit.life_commit import by_hand, commit_waits, finish


async def test_a_change_that_commit_rolled_back_is_not_served(app: App, caplog: pytest.LogCaptureFixture) -> None:
    """A statement fails after the last write, and the application goes on: Guillotina alone gives the old state."""
    oid = await add(app, "c", "Container")
    assert await title(app, oid) == "c"
    async with by_hand(app) as txn:
        content = await txn.get(oid)
        content.title = "never committed"
        content.register()
        await txn.tpc_commit()
        with suppress(asyncpg.DivisionByZeroError):
            await (await txn.get_connection()).execute("SELECT 1/0")
        await finish(txn)  # raises nothing
    assert await title(app, oid) == "c"
    async with uncached(app) as txn:
        assert (await txn.get(oid)).title == "c"
    assert app.utility.local_stats()["events"]["open"] == 0
    assert [text for text in caplog.messages if "answered COMMIT" in text and "with ROLLBACK" in text]
    await set_title(app, oid, "new")
    assert await title(app, oid) == "new"


@pytest.fixture
def no_query(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no query for open transactions is answered, so none settles an event."""

    async def never(database: object) -> list[str]:
        raise LookupError("not asked in this test")

    monkeypatch.setattr("guillotina_groupcache.database.queries.open_in", never)


@pytest.mark.usefixtures("no_query")
@pytest.mark.parametrize("error", [asyncpg.InterfaceError("another operation is in progress"), ConnectionError()])
async def test_a_commit_that_was_never_sent(app: App, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    oid = await add(app, "c", "Container")

    async def refused(self: object) -> None:
        raise error

    monkeypatch.setattr("asyncpg.transaction.Transaction.commit", refused)
    async with by_hand(app) as txn:
        content = await txn.get(oid)
        content.title = "new"
        content.register()
        await txn.tpc_commit()
        with pytest.raises(type(error)):
            await finish(txn)
        # before anything else is sent
        assert app.utility.local_stats()["events"]["open"] == 0
    monkeypatch.undo()
    assert await title(app, oid) == "c"


@pytest.mark.usefixtures("no_query")
async def test_a_commit_that_is_given_up_by_the_client(app: App, database: str) -> None:
    """COMMIT was sent, and cancelled: ROLLBACK is answered when it is over, whether it took effect or not."""
    oid = await add(app, "c", "Container")
    async with commit_waits(app, database, oid) as (txn, commit):
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        assert app.utility.local_stats()["events"]["open"] == 1
        await txn.abort()
        assert app.utility.local_stats()["events"]["open"] == 0
        assert await title(app, oid) == "c"


@pytest.mark.usefixtures("no_query")
async def test_a_rollback_that_is_not_answered_settles_nothing(app: App, database: str) -> None:
    """However often the pool is asked for it: COMMIT may still take effect."""
    oid = await add(app, "c", "Container")
    async with commit_waits(app, database, oid) as (txn, commit):
        txn._db_conn._con.terminate()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await commit
        answers = txn._db_txn._connection
        await txn.abort()
        for _ in range(2):
            await answers.settle(app.utility)
            assert app.utility.local_stats()["events"]["open"] == 1


async def test_a_connection_that_is_somebody_elses_is_left_alone(app: App) -> None:
    """Its ROLLBACK would be that of their transaction."""
    event = await app.utility.events.announce(DATABASE, [])
    async with app.database.storage.pool.acquire() as connection:
        answers = Answers(connection._con)
        answers.lost = event
        await answers.execute("COMMIT")
    async with answers.transaction():  # by the task that the pool has given it to
        await answers.settle(app.utility)
        assert answers.is_in_transaction()
        assert app.utility.local_stats()["events"]["open"] == 1
