"""Another task acts on a transaction while it is committed, or on its rows before that (R8, R11)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from guillotina import task_vars
from guillotina.const import TRASHED_ID
from guillotina.content import create_content_in_container
from guillotina.db.storages.pg import PostgresqlStorage
from guillotina.event import notify
from guillotina.events import DatabaseInitializedEvent
from guillotina.factory.content import Database
from guillotina.transactions import transaction

from guillotina_groupcache import keys, records
from guillotina_groupcache.keys import Kind
from tests.unit.life_app import DATABASE, TIMEOUT, App, add, object_key, title, uncached, until
from tests.unit.life_database import connected


@pytest.fixture
def events(app: App, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each event that is announced from now on, whether it is over everything."""
    announce, seen = app.utility.events.announce, []

    async def noted(database: str, changed: Any, everything: bool = False) -> int:
        seen.append(everything)
        return await announce(database, changed, everything)

    monkeypatch.setattr(app.utility.events, "announce", noted)
    return seen


async def given_up(app: App, change: Callable[[Any], None], oid: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Change an object, and cancel the commit while it is announced; its transaction."""
    waits, goes_on = asyncio.Event(), asyncio.Event()
    announce = app.utility.events.announce

    async def held(*arguments: Any, **named: Any) -> int:
        waits.set()
        await asyncio.wait_for(goes_on.wait(), TIMEOUT)
        return await announce(*arguments, **named)

    monkeypatch.setattr(app.utility.events, "announce", held)
    manager = app.database.get_transaction_manager()
    txn = await manager.begin()
    change(await txn.get(oid))
    commit = asyncio.ensure_future(manager.commit(txn=txn))
    await asyncio.wait_for(waits.wait(), TIMEOUT)
    commit.cancel()  # Guillotina shields the work of the commit
    with suppress(asyncio.CancelledError):
        await commit
    abort = asyncio.ensure_future(manager.abort(txn=txn))
    done, _ = await asyncio.wait([abort], timeout=0.5)  # long enough for an abort that waits for nothing
    assert not done
    goes_on.set()
    await asyncio.wait_for(abort, TIMEOUT)
    monkeypatch.undo()
    task_vars.txn.set(txn)  # as in the task that continues, which uses it again
    return txn


async def test_a_commit_that_is_given_up_commits_nothing_else(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guillotina uses its transaction objects again: the next one must not be committed under this event."""
    first, second = await add(app, "a", "Container"), await add(app, "b", "Container")
    assert [await title(app, oid) for oid in (first, second)] == ["a", "b"]
    task_vars.txn.set(None)

    def retitle(content: Any) -> None:
        content.title = "new"
        content.register()

    txn = await given_up(app, retitle, first, monkeypatch)
    again = await app.database.get_transaction_manager().begin()
    assert again is txn
    retitle(await again.get(second))
    await again.tpc_commit()
    await until(lambda: app.utility.local_stats()["events"]["open"] == 0, "the event to be settled")
    await app.database.get_transaction_manager().abort(txn=again)
    task_vars.txn.set(None)
    async with uncached(app) as plain:
        database = [(await plain.get(oid)).title for oid in (first, second)]
    assert database[1] == "b"
    assert [await title(app, oid) for oid in (first, second)] == database


async def test_a_deletion_that_is_given_up_is_done_whole_or_not(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vacuum deletes what is in the trash, and nothing else."""
    folder = await add(app, "a", "Container")
    task_vars.txn.set(None)
    txn = await given_up(app, lambda content: content.__txn__.delete(content), folder, monkeypatch)
    task_vars.txn.set(None)
    await app.database.storage.connection_manager.vacuum._queue.join()
    async with connected(app.database.storage._dsn) as connection:
        there = await connection.fetchval("SELECT true FROM objects WHERE zoid = $1", folder)
    assert not there, "it was committed, as the abort came too late"
    assert txn._db_txn is None


async def test_a_savepoint_that_was_rolled_back_is_not_pushed(app: App) -> None:
    """As importers do, for each item: COMMIT is answered COMMIT, which does not show the ROLLBACK to the savepoint."""
    oid, other = await add(app, "a", "Container"), await add(app, "b", "Container")
    assert await title(app, oid) == "a"
    async with transaction(db=app.database) as txn:
        content, kept = await txn.get(oid), await txn.get(other)
        kept.title = "new"
        kept.register()
        await txn.initialize_tid()
        await app.database.storage.start_transaction(txn)
        content.title = "never committed"
        with suppress(ZeroDivisionError):
            async with txn._db_conn.transaction():
                await txn._store_object(content, oid)
                raise ZeroDivisionError
    assert await title(app, oid) == "a"
    assert await title(app, other) == "new"


async def test_an_object_that_was_changed_and_then_deleted_is_in_the_trash(app: App) -> None:
    app.database.storage._autovacuum = False
    folder = await add(app, "folder", "Container")
    oid = await add(app, "child", parent=folder)

    async def trash() -> list[Any]:
        wanted = [keys.encode(DATABASE, kind, TRASHED_ID) for kind in (Kind.KEYS, Kind.LEN)]
        wanted.append(keys.encode(DATABASE, Kind.CHILD, TRASHED_ID, "child"))
        return [value for value, _ in await app.utility.reads.get_many(wanted)]

    assert await trash() == [[], 0, records.ABSENT]
    for _ in range(2):  # so that it is a near entry, and known to stay where it is
        async with transaction(db=app.database, read_only=True, abort_when_done=True) as txn:
            await (await txn.get(folder)).async_get("child")
    async with transaction(db=app.database) as txn:
        content = await (await txn.get(folder)).async_get("child")
        txn.delete(content)
        content.title = "new"
        txn.register(content)
    ids, number, row = await trash()
    assert (ids, number, row["zoid"]) == (["child"], 1, oid)


async def test_a_process_that_bypasses_names_what_it_adds(
    app: App, events: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No version shows it whether another process adds the same object, but a row of its own does."""
    one, other = await add(app, "one", "Folder"), await add(app, "other", "Folder")
    oid = await add(app, "was", parent=one)
    lists = [keys.encode(DATABASE, Kind.KEYS, folder) for folder in (one, other)]
    assert [ids for ids, _ in await app.utility.reads.get_many(lists)] == [["was"], []]
    monkeypatch.setattr(app.utility.reads, "version", lambda key: None)
    new = await add(app, "new", parent=one)
    async with transaction(db=app.database) as txn:
        await create_content_in_container(
            await txn.get(other), "Item", "is", check_security=False, check_constraints=False, __uuid__=oid
        )
    monkeypatch.undo()
    assert not any(events)
    assert [ids for ids, _ in await app.utility.reads.get_many(lists)] == [["new"], ["is"]]
    assert (await app.utility.reads.get(object_key(new)))[0]["id"] == "new"


async def test_a_process_that_bypasses_deletes_a_row_that_does_not_exist(
    app: App, events: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No version shows it whether another process has inserted the row since: its place may have been any."""
    await add(app, "i")
    async with transaction(db=app.database, abort_when_done=True) as txn:
        txn.delete(await txn.get_child(await txn.get("0" * 32), "i"))
        async with connected(app.database.storage._dsn) as connection:
            await connection.execute("DELETE FROM objects WHERE id = 'i'")
        monkeypatch.setattr(app.utility.reads, "version", lambda key: None)
        await txn.tpc_commit()
        await txn.tpc_finish()
    assert events[-1]


async def test_an_upsert_over_a_row_that_a_later_transaction_wrote_is_a_conflict(app: App) -> None:
    """As Guillotina's own query finds, over another connection."""
    oid = await add(app, "i")
    async with transaction(db=app.database, abort_when_done=True) as txn:
        await txn.initialize_tid()
        async with transaction(db=app.database) as later, later:
            item = await later.get_child(await later.get("0" * 32), "i")
            item.title = "later"
            item.register()
        item = await txn.get(oid)
        item.__serial__ = None  # so that it is written by an upsert
        item.register()
        writes = txn._cache.writes
        await app.database.storage.start_transaction(txn)
        await writes.look_up(app.database.storage)
        assert [row["zoid"] for row in await app.database.storage.get_conflicts(txn)] == [oid]


async def test_storages_that_share_a_vacuum_keep_their_tables_apart(app: App, database: str) -> None:
    """It belongs to the connection manager, and gets the table of each object, as ids may be the same."""
    manager = app.database.storage.connection_manager
    storage = PostgresqlStorage(
        dsn=database,
        name="second",
        objects_table_name="more",
        blobs_table_name="more_blobs",
        connection_manager=manager,
    )
    await storage.initialize()
    second = Database("second", storage)
    await second.initialize()
    await notify(DatabaseInitializedEvent(second))
    twin = await add(App(app.utility, second), "twin", "Container")
    async with transaction(db=app.database) as txn:
        await create_content_in_container(
            await txn.manager.get_root(),
            "Container",
            "twin",
            check_security=False,
            check_constraints=False,
            __uuid__=twin,
        )
    async with transaction(db=second) as txn:
        txn.delete(await txn.get(twin))
    await asyncio.wait_for(manager.vacuum._queue.join(), TIMEOUT)
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT count(*) FROM objects WHERE zoid = $1", twin) == 1
        assert await connection.fetchval("SELECT count(*) FROM more WHERE zoid = $1", twin) == 0
    assert (await app.utility.reads.get(keys.encode("second", Kind.OBJECT, twin)))[0] is records.ABSENT
    assert (await app.utility.reads.get(object_key(twin)))[0]["id"] == "twin"


async def test_a_blob_in_a_transaction_of_the_applications_own(app: App) -> None:
    async with transaction(db=app.database, abort_when_done=True) as txn:
        connection: asyncpg.Connection = await txn.get_connection()
        await connection.execute("BEGIN")
        await txn.write_blob_chunk("blob", "f" * 32, 0, b"x")
        assert await connection.fetchval("SELECT type FROM objects WHERE zoid = $1", "f" * 32) == "stub"
        await connection.execute("ROLLBACK")
