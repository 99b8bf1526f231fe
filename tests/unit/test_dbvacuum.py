"""`guillotina dbvacuum` announces what it deletes, a batch at a time (R11), and holds no other transaction up."""

from __future__ import annotations

import asyncio

from guillotina.component import get_adapter
from guillotina.const import TRASHED_ID
from guillotina.db.interfaces import IVacuumProvider
from guillotina.transactions import transaction

from guillotina_groupcache import records
from tests.unit import life_app as life
from tests.unit.life_database import blocked, blocked_on_row, connected
from tests.unit.life_vacuum import done, exists, row_locked, value


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
