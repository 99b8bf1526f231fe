"""Deletions that fail are tried again until the vacuum ends; what it leaves in the trash is logged."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import asyncpg
import pytest

from guillotina_groupcache import records, vacuum
from tests.unit import life_app as life
from tests.unit.life_database import blocked, blocked_on_row, connected
from tests.unit.life_vacuum import done, exists, row_locked, value, work_of


async def test_a_deletion_that_fails_is_tried_again(database: str, caplog: pytest.LogCaptureFixture) -> None:
    async with life.running(database, pool_size=1) as app:
        storage = app.database.storage
        oids = [await life.add(app, "one"), await life.add(app, "two")]
        storage._conn_acquire_timeout = 0.01
        caplog.set_level(logging.INFO, "guillotina_groupcache")
        async with storage.pool.acquire():  # the only one
            works = [work_of(app, oid) for oid in oids]
            await life.until(lambda: "stay in the trash while this lasts" in caplog.text, "a failure to be logged")
            assert not any(work.done() for work in works)
        await done(asyncio.gather(*works))
        assert caplog.text.count("stay in the trash") == 1
        assert caplog.text.count("leave the trash again") == 1
        async with connected(database) as connection:
            for oid in oids:
                assert not await exists(connection, oid)


async def test_a_deadlock_is_tried_again(database: str) -> None:
    """Another transaction has locked the child and wants the folder, which the vacuum has locked."""
    async with life.running(database) as app:
        folder = await life.add(app, "f", "Folder")
        child = await life.add(app, "c", parent=folder)
        async with row_locked(database, child) as other:
            work = work_of(app, folder)
            await blocked_on_row(database)
            with suppress(asyncpg.DeadlockDetectedError):  # if the database chooses this one
                await other.execute("SELECT 1 FROM objects WHERE zoid = $1 FOR UPDATE", folder)
            await other.execute("ROLLBACK")
            await done(work)
        async with connected(database) as connection:
            assert not await exists(connection, folder)
        assert await value(app, child) is records.ABSENT


async def test_objects_left_at_the_end_are_logged_once(database: str, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(database) as holder:
        async with life.running(database) as app:
            oids = [await life.add(app, "one"), await life.add(app, "two")]
            await holder.execute("BEGIN; LOCK TABLE objects IN SHARE MODE")
            worker = app.database.storage.connection_manager.vacuum
            for oid in oids:
                await worker.add_to_queue(oid, app.database.storage.objects_table_name)
            await blocked(database)
        assert [text for text in caplog.messages if "stay in the trash" in text] == [
            "groupcache: 2 deleted objects stay in the trash: `guillotina dbvacuum` deletes them"
        ]
        await holder.execute("COMMIT")
        assert await exists(holder, oids[0])
    assert not [task for task in asyncio.all_tasks() if "Trash" in repr(task)]


async def test_objects_that_are_queued_at_the_end_are_deleted(
    database: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guillotina_groupcache.vacuum.FINISH_TIMEOUT", life.TIMEOUT)
    async with life.running(database) as app:
        oids = [await life.add(app, f"i{number}") for number in range(3)]
        worker = app.database.storage.connection_manager.vacuum
        for oid in oids:
            await worker.add_to_queue(oid, app.database.storage.objects_table_name)
    async with connected(database) as connection:
        assert [oid for oid in oids if await exists(connection, oid)] == []
    assert "stay in the trash" not in caplog.text


async def test_a_deletion_that_is_not_cancelled_in_time_is_counted(
    database: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncpg waits for a server that does not answer even when it is cancelled; the objects behind it are left too."""
    let_go = asyncio.Event()

    async def hangs(self: object, *arguments: object) -> None:
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await let_go.wait()

    async with life.running(database) as app:
        worker = app.database.storage.connection_manager.vacuum
        monkeypatch.setattr("guillotina_groupcache.vacuum.Trash._try", hangs)
        monkeypatch.setattr("guillotina_groupcache.vacuum.FINISH_TIMEOUT", 0.1)
        for number in range(3):
            await worker.add_to_queue(str(number), app.database.storage.objects_table_name)
        await vacuum.finish(app.database.storage)
        assert [text for text in caplog.messages if "stay in the trash" in text] == [
            "groupcache: 3 deleted objects stay in the trash: `guillotina dbvacuum` deletes them"
        ]
        let_go.set()
        await asyncio.wait_for(worker._queue.join(), life.TIMEOUT)


async def test_deletions_go_on_after_the_end_of_another_storage(database: str) -> None:
    """Storages may share the vacuum, and one may be closed while the others go on."""
    async with life.running(database) as app:
        oid = await life.add(app, "doomed")
        await vacuum.finish(app.database.storage)
        await done(work_of(app, oid))
        async with connected(database) as connection:
            assert not await exists(connection, oid)


async def test_an_error_that_will_not_pass_ends_the_work(database: str, caplog: pytest.LogCaptureFixture) -> None:
    async with life.running(database) as app:
        oid = await life.add(app, "wanted")
        async with connected(database) as connection:
            await connection.execute("CREATE TABLE mine (zoid VARCHAR(64) REFERENCES objects)")
            await connection.execute("INSERT INTO mine VALUES ($1)", oid)
            await done(work_of(app, oid))
            assert await exists(connection, oid)
        assert f"object {oid} stays in the trash: ForeignKeyViolationError" in caplog.text
        assert app.utility.local_stats()["events"]["open"] == 0
