"""A transaction needs no connection but its own: no hidden deadlock, and no wait for the pool."""

from __future__ import annotations

import asyncio

from guillotina.db.transaction import Transaction

from tests.unit.life_app import TIMEOUT, App, add, running, title
from tests.unit.life_commit import ROOT, by_hand, finish
from tests.unit.life_database import blocked, connected


async def test_ddl_that_waits_for_a_commit_does_not_stop_it(app: App, database: str) -> None:
    """DDL waits for the transaction's lock, and every other connection for DDL: the commit must need none."""
    oid = await add(app, "c", "Container")
    async with connected(database) as ddl, by_hand(app) as txn:
        content = await txn.get(oid)
        txn._cache.seen.clear()  # so that it is not known where the object was
        content.title = "new"
        content.register()
        await txn.tpc_commit()
        waiting = asyncio.ensure_future(ddl.execute("ALTER TABLE objects ADD COLUMN more TEXT"))
        await blocked(database)
        await asyncio.wait_for(finish(txn), TIMEOUT)
        await asyncio.wait_for(waiting, TIMEOUT)
    assert await title(app, oid) == "new"


async def test_a_transaction_with_the_only_connection_of_the_pool_does_not_wait_for_it(database: str) -> None:
    async with running(database, pool_size=1) as app:
        folder = await add(app, "f", "Folder")
        await add(app, "i", parent=folder)
        await app.utility.clear()
        app.database.storage._conn_acquire_timeout = 10 * TIMEOUT

        async def read(txn: Transaction) -> None:
            container = await txn.get(folder)
            assert (await txn.get_child(container, "i")).title == "i"
            assert [child.title async for child in txn.get_children(container, ["i"])] == ["i"]
            assert await txn.get_page_of_keys(folder) == ["i"]

        async with by_hand(app) as txn:
            await txn.get_connection()
            await asyncio.wait_for(read(txn), TIMEOUT)


async def test_a_transaction_of_the_applications_own_sees_its_own_rows(app: App) -> None:
    """Guillotina reads over the reserved connection, which sees what was written over it by hand."""
    oid = await add(app, "i")
    assert await title(app, oid) == "i"
    async with by_hand(app) as txn:
        connection = await txn.get_connection()
        own = connection.transaction()
        await own.start()
        await connection.execute("UPDATE objects SET type = 'Other' WHERE zoid = $1", oid)
        assert (await txn._get(oid))["type"] == "Other"
        assert (await txn._get_child(await txn.get(ROOT), "i"))["type"] == "Other"
        await own.rollback()
        assert (await txn._get(oid))["type"] == "Item"
