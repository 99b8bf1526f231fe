"""The vacuum's deletions are events like those of transactions, for who asks the database about them too (R6)."""

from __future__ import annotations

import asyncio

import asyncpg
from guillotina.transactions import transaction

from guillotina_groupcache import lines, members_table
from tests.unit import life_app as life


async def open_transactions(app: life.App, connection: asyncpg.Connection) -> list[asyncpg.Record]:
    """What R6 gets as an answer: the writing transactions that are open."""
    rows: list[asyncpg.Record] = await connection.fetch(members_table.OPEN, app.database.storage.objects_table_name)
    return rows


async def test_a_vacuum_that_waits_for_a_connection_counts_as_a_writer(database: str) -> None:
    """Announced and not begun, it would be taken for over, and its deletion come as a surprise to the others."""
    async with life.running(database, pool_size=1) as app:
        oid = await life.add(app, "doomed")
        storage = app.database.storage
        spare = await lines.connect(storage)
        before = app.utility.local_stats()["events"]["passed"]
        async with storage.pool.acquire():  # the only one
            work = asyncio.ensure_future(storage.connection_manager.vacuum.vacuum(oid, storage.objects_table_name))
            await life.until(lambda: app.utility.local_stats()["events"]["passed"] > before, "the announcement")
            assert await open_transactions(app, spare)
            assert app.utility.local_stats()["events"]["open"] == 1
        await asyncio.wait_for(work, life.TIMEOUT)
        assert app.utility.local_stats()["events"]["open"] == 0
        assert not await open_transactions(app, spare)
        async with transaction(db=app.database, read_only=True, abort_when_done=True) as txn:
            assert not await txn.contains("0" * 32, "doomed")
        await spare.close()
