"""The vacuum's deletions are announced like other transactions (R6, R11), and hold no other transaction up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from guillotina.annotations import AnnotationData
from guillotina.interfaces import IAnnotations
from guillotina.transactions import transaction

from guillotina_groupcache import keys, records
from guillotina_groupcache.cascade import MAX_ROWS
from guillotina_groupcache.database import members_table
from guillotina_groupcache.keys import Kind
from tests.unit import life_app as life
from tests.unit.life_database import blocked, blocked_on_row, connected
from tests.unit.life_vacuum import done, exists, row_locked, value, work_of
from tests.unit.test_raw_sql import INSTALLED, eventually


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
