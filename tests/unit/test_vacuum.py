"""The vacuum's deletions are announced like other transactions (R6, R11), and hold no other transaction up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest
from guillotina.annotations import AnnotationData
from guillotina.component import get_adapter
from guillotina.const import TRASHED_ID
from guillotina.db.interfaces import IVacuumProvider
from guillotina.interfaces import IAnnotations
from guillotina.transactions import transaction

from guillotina_groupcache import keys, records, vacuum
from guillotina_groupcache.cascade import MAX_ROWS
from guillotina_groupcache.database import members_table
from guillotina_groupcache.keys import Kind
from tests.unit import life_app as life
from tests.unit.life_database import blocked, blocked_on_row, connected
from tests.unit.test_raw_sql import INSTALLED, eventually


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
    return bool(await connection.fetchval("SELECT true FROM objects WHERE zoid = $1", oid))


@asynccontextmanager
async def row_locked(dsn: str, oid: str) -> AsyncIterator[asyncpg.Connection]:
    """Another transaction holds a row while the block runs, or until the block commits."""
    async with connected(dsn) as connection:
        await connection.execute("BEGIN")
        await connection.execute("SELECT 1 FROM objects WHERE zoid = $1 FOR UPDATE", oid)
        yield connection


@asynccontextmanager
async def insert_under_way(app: life.App, parent: str, id_: str) -> AsyncIterator[str]:
    """A child that was inserted and is not committed before the block has ended."""
    async with transaction(db=app.database, abort_when_done=True) as txn:
        container = await txn.get(parent)
        child = await life.create_content_in_container(
            container, "Item", id_, check_security=False, check_constraints=False, title=id_
        )
        await txn.tpc_commit()
        yield str(child.__uuid__)
        await txn.tpc_vote()
        await txn.tpc_finish()


async def test_a_child_that_is_inserted_while_its_folder_is_deleted(database: str) -> None:
    """The cascade deletes it too: it must not be served afterwards, whenever it was committed."""
    async with life.running(database) as app:
        folder = await life.add(app, "f", "Folder")
        async with insert_under_way(app, folder, "late") as child:
            work = work_of(app, folder)
            await blocked_on_row(database)
        await done(work)
        async with connected(database) as connection:
            assert not await exists(connection, child)
        assert await value(app, child) is records.ABSENT
        assert await value(app, folder) is records.ABSENT


async def test_the_lists_of_a_deleted_folder(database: str) -> None:
    async with life.running(database) as app:
        folder = await life.add(app, "f", "Folder")
        await life.add(app, "i", parent=folder)
        async with transaction(db=app.database) as txn:
            await IAnnotations(await txn.get(folder)).async_set("notes", AnnotationData())

        async def lists() -> list[Any]:
            kinds = (Kind.KEYS, Kind.LEN, Kind.ANNOTATION_KEYS)
            return [(await app.utility.reads.get(keys.encode(life.DATABASE, kind, folder)))[0] for kind in kinds]

        assert await lists() == [["i"], 1, ["notes"]]
        await done(work_of(app, folder))
        assert await lists() == [[], 0, []]


async def test_a_deletion_by_a_trigger_of_the_application_is_announced(database: str) -> None:
    """It is noted, and the event takes the notes of the vacuum's own transaction: no process waits for a view."""
    async with life.running(database) as app, connected(database) as connection:
        gone, other = await life.add(app, "gone"), await life.add(app, "other")
        await eventually(lambda: connection.fetchval(INSTALLED))
        await connection.execute(
            f"CREATE FUNCTION take_along() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" DELETE FROM objects WHERE zoid = '{other}'; RETURN NULL; END $$;"
            f"CREATE TRIGGER take_along AFTER DELETE ON objects FOR EACH ROW WHEN (OLD.zoid = '{gone}')"
            " EXECUTE FUNCTION take_along()"
        )
        assert (await value(app, other))["zoid"] == other
        await done(work_of(app, gone))
        assert await value(app, other) is records.ABSENT


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
async def test_a_grandchild_that_is_inserted_meanwhile(
    database: str, isolation: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is seen, and nothing has to be tried again, whatever the server's default isolation is."""
    async with connected(database) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'")
    async with life.running(database) as app:
        folder = await life.add(app, "f", "Folder")
        inner = await life.add(app, "inner", "Folder", parent=folder)
        async with insert_under_way(app, inner, "late") as child:
            work = work_of(app, folder)
            await blocked_on_row(database)
        await done(work)
        assert await value(app, child) is records.ABSENT
        assert await value(app, inner) is records.ABSENT
    assert "stay in the trash" not in caplog.text


async def test_a_vacuum_that_waits_for_a_row_is_a_writer_and_brings_nothing_into_doubt(database: str) -> None:
    async with life.running(database) as app:
        oid = await life.add(app, "doomed")
        async with row_locked(database, oid) as holder, connected(database) as spare:
            work = work_of(app, oid)
            await blocked_on_row(database)
            # The holder has locked a row without writing anything.
            open_now = await spare.fetch(members_table.OPEN, app.database.storage.objects_table_name)
            assert len(open_now) == 1
            assert app.utility.local_stats()["events"]["open"] == 0
            await holder.execute("COMMIT")
            await done(work)
            assert not await exists(spare, oid)
        assert await value(app, oid) is records.ABSENT


async def test_ddl_that_waits_for_a_vacuum_does_not_stop_it(database: str) -> None:
    """DDL waits for the vacuum's lock, and everything else waits for DDL: the vacuum must need no other connection."""
    async with life.running(database) as app:
        oid = await life.add(app, "doomed")
        async with row_locked(database, oid) as holder, connected(database) as ddl:
            work = work_of(app, oid)
            await blocked_on_row(database)
            waiting = asyncio.ensure_future(ddl.execute("CREATE INDEX other ON objects (type)"))
            await blocked(database)
            await holder.execute("COMMIT")
            await done(work)
            await done(waiting)
            assert not await exists(ddl, oid)


async def test_deletions_take_connections_of_the_pool_alone(database: str) -> None:
    async with life.running(database, pool_size=2) as app:
        oids = [await life.add(app, f"i{number}") for number in range(25)]
        async with connected(database) as connection:
            before = await sessions(connection)
            async with row_locked(database, oids[0]) as holder, transaction(db=app.database) as txn:
                root = await txn.manager.get_root()
                for number in range(25):
                    txn.delete(await txn.get_child(root, f"i{number}"))
                await holder.execute("COMMIT")
            most = 0
            while await connection.fetchval("SELECT count(*) FROM objects WHERE zoid = ANY($1)", oids):
                most = max(most, await sessions(connection))
            # Besides the pool's two: the members table's, and this one. The holder's may still be ending.
            assert most <= max(before, 4) + 1


async def sessions(connection: asyncpg.Connection) -> int:
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    )
    return count


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


async def test_more_than_can_be_named_is_everything(database: str) -> None:
    async with life.running(database) as app:
        folder = await life.add(app, "f", "Folder")
        async with connected(database) as connection:
            await connection.execute(
                "INSERT INTO objects (zoid, tid, state_size, part, resource, parent_id, id, type)"
                " SELECT 'many' || n, 1, 0, 0, true, $1, n::text, 'Item' FROM generate_series(1, $2) n",
                *(folder, MAX_ROWS + 1),
            )
            other = await life.add(app, "other")
            versions = [app.utility.reads.version(life.object_key(oid)) for oid in (folder, other)]
            await done(work_of(app, folder))
            assert not await exists(connection, "many7")
        # the keys of the named row, and of a row that has nothing to do with it
        assert app.utility.reads.version(life.object_key(folder)) != versions[0]
        assert app.utility.reads.version(life.object_key(other)) != versions[1]


async def test_rows_that_lie_in_a_circle_are_named_once(database: str) -> None:
    async with life.running(database) as app:
        folder, other = await life.add(app, "f", "Folder"), await life.add(app, "other")
        inner = await life.add(app, "inner", "Folder", parent=folder)
        version = app.utility.reads.version(life.object_key(other))
        async with connected(database) as connection:
            await connection.execute("UPDATE objects SET parent_id = $2 WHERE zoid = $1", folder, inner)
            await done(work_of(app, folder))
            assert not await exists(connection, inner)
        assert await value(app, folder) is await value(app, inner) is records.ABSENT
        assert app.utility.reads.version(life.object_key(other)) == version, "they are few"


async def trashed_tree(app: life.App) -> list[str]:
    """A folder in the trash, with children and grandchildren, that no vacuum has seen; all ids, the folder's first."""
    app.database.storage._autovacuum = False
    folder = await life.add(app, "f", "Folder")
    inner = await life.add(app, "inner", "Folder", parent=folder)
    below = [await life.add(app, f"i{number}", parent=inner) for number in range(3)]
    async with transaction(db=app.database) as txn:
        txn.delete(await txn.get_child(await txn.manager.get_root(), "f"))
    found = [folder, inner, *below]
    for oid in found:
        assert (await value(app, oid))["zoid"] == oid
    return found


async def test_dbvacuum_announces_each_batch(database: str) -> None:
    async with life.running(database) as app:
        tree = await trashed_tree(app)
        other = await life.add(app, "other")
        version = app.utility.reads.version(life.object_key(other))
        provider = get_adapter(app.database.storage, IVacuumProvider)
        provider._pause = 0
        await done(provider())
        async with connected(database) as connection:
            assert await connection.fetchval("SELECT count(*) FROM objects WHERE parent_id = $1", TRASHED_ID) == 0
        for oid in tree:
            assert await value(app, oid) is records.ABSENT
        # It names what it deletes.
        assert app.utility.reads.version(life.object_key(other)) == version


async def test_ddl_that_waits_for_dbvacuum_does_not_stop_it(database: str) -> None:
    async with life.running(database) as app:
        tree = await trashed_tree(app)
        async with row_locked(database, tree[1]) as holder, connected(database) as ddl:
            provider = get_adapter(app.database.storage, IVacuumProvider)
            provider._pause = 0
            work = asyncio.ensure_future(provider())
            await blocked_on_row(database)
            waiting = asyncio.ensure_future(ddl.execute("CREATE INDEX other ON objects (type)"))
            await blocked(database)
            await holder.execute("COMMIT")
            await done(work)
            await done(waiting)


async def test_an_object_that_leaves_a_deleted_folder_during_dbvacuum_stays(database: str) -> None:
    """It is deleted only from the place where it was found."""
    async with life.running(database) as app:
        folder, inner, *_ = await trashed_tree(app)
        other = await life.add(app, "other", "Folder")
        async with row_locked(database, inner) as mover:
            await mover.execute("UPDATE objects SET parent_id = $1, id = 'saved' WHERE zoid = $2", other, inner)
            provider = get_adapter(app.database.storage, IVacuumProvider)
            provider._pause = 0
            work = asyncio.ensure_future(provider())
            await blocked_on_row(database)
            await mover.execute("COMMIT")
            await done(work)
            assert await exists(mover, inner)
            assert not await exists(mover, folder)
