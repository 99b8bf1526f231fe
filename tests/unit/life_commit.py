"""Transactions whose steps a test takes by itself, and what they write, read through the cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from guillotina.db.transaction import Transaction
from guillotina.transactions import transaction

from guillotina_groupcache import keys
from guillotina_groupcache.constants import Source
from guillotina_groupcache.keys import Kind
from tests.unit.life_app import DATABASE, App
from tests.unit.life_database import WAIT_IN_COMMIT, blocked, connected

#: The object id of a database's root.
ROOT = "0" * 32


@asynccontextmanager
async def by_hand(app: App) -> AsyncIterator[Transaction]:
    """A transaction whose steps the block takes by itself; unless it commits, it is aborted at the end."""
    async with transaction(db=app.database, abort_when_done=True) as txn:
        yield txn


async def finish(txn: Transaction) -> None:
    """The steps of a commit after the last statement that writes."""
    await txn.tpc_vote()
    await txn.tpc_finish()


@asynccontextmanager
async def commit_waits(app: App, database: str, oid: str) -> AsyncIterator[tuple[Transaction, asyncio.Future[None]]]:
    """A change of an object whose COMMIT was sent, and does not end while the block runs."""
    async with connected(database) as holder:
        await holder.execute(WAIT_IN_COMMIT)
        await holder.execute("SELECT pg_advisory_lock(42)")
        async with by_hand(app) as txn:
            content = await txn.get(oid)
            content.title = "new"
            content.register()
            await txn.tpc_commit()
            commit = asyncio.ensure_future(finish(txn))
            await blocked(database)
            yield txn, commit


async def through_cache(app: App, kind: Kind, oid: str, name: str = "") -> Any:
    """The value of a key by the cache, which must have one."""
    found, source = await app.utility.reads.get(keys.encode(DATABASE, kind, oid, name))
    assert source is not Source.NOWHERE
    return found


async def everything_loaded(app: App, *of: tuple[Kind, str, str]) -> None:
    """Read keys into memory, so that a key that is not bumped gives its old value."""
    for kind, oid, name in of:
        await through_cache(app, kind, oid, name)
