"""The vacuum deletes what was trashed, and all below it, outside of any Guillotina transaction: so it announces too.

Between the commit that trashes a folder and the vacuum its descendants can be read, and so be cached.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from guillotina import configure
from guillotina.component import query_utility
from guillotina.db.interfaces import IPostgresStorage, IVacuumProvider
from guillotina.db.storages import vacuum

from guillotina_groupcache.commit import announced, doomed_keys
from guillotina_groupcache.interfaces import GroupcacheError, IGroupcacheUtility
from guillotina_groupcache.lines import connect

if TYPE_CHECKING:
    from guillotina_groupcache.utility import GroupcacheUtility

logger = logging.getLogger("guillotina_groupcache")

#: Seconds: what Guillotina gives its vacuum when it ends.
FINISH_TIMEOUT: Final = 2.0


class _Unfinished(Exception):
    """The vacuum did not say whether its DELETE was done, and the row is still there."""


@asynccontextmanager
async def _writing(storage: Any, table: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that the database counts among those that write to the table, until the block ends.

    A Guillotina transaction has written before it is announced, which is how the database can tell others that
    it is over (R6). The vacuum writes after, by statements of their own, so this speaks for it. On a connection
    that is not of the pool: a pool of one is the vacuum's own.
    """
    connection = await connect(storage)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
            yield connection
    finally:
        await connection.close(timeout=FINISH_TIMEOUT)


def decorate(database: str, storage: Any, utility: GroupcacheUtility) -> None:
    """Make a storage's vacuum announce what it deletes. Doing it twice is doing it once."""
    worker = storage.connection_manager.vacuum
    if worker is None or getattr(worker.vacuum, "announces", False):
        return
    delete = worker.vacuum

    async def announced_vacuum(oid: str, table: str) -> None:
        try:
            async with _writing(storage, table) as connection:
                doomed, everything = await doomed_keys(connection, database, table, [oid])
                async with announced(utility, database, doomed, everything):
                    await delete(oid, table)
                    # It logs its errors and raises none, so look whether it was done.
                    if await connection.fetchval(f"SELECT 1 FROM {table} WHERE zoid = $1", oid):
                        raise _Unfinished
        except (_Unfinished, GroupcacheError) as error:
            logger.warning("groupcache: object %s stays in the trash: %r", oid, error)

    announced_vacuum.announces = True  # type: ignore[attr-defined]
    worker.vacuum = announced_vacuum


async def finish(storage: Any) -> None:
    """Let a storage's vacuum delete what it was given while it can still be announced, for two seconds at most."""
    worker = storage.connection_manager.vacuum
    if worker is not None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(worker._queue.join(), FINISH_TIMEOUT)


@configure.adapter(for_=IPostgresStorage, provides=IVacuumProvider)
class Vacuum(vacuum.PGVacuum):
    """`guillotina dbvacuum`: the cluster reads the database while it runs, as it names nothing it deletes."""

    async def __call__(self) -> None:
        utility = query_utility(IGroupcacheUtility)
        if utility is None:
            await super().__call__()  # type: ignore[no-untyped-call]
            return
        storage = self._storage
        async with (
            _writing(storage, storage.objects_table_name),
            announced(utility, "", (), everything=True),
        ):
            await super().__call__()  # type: ignore[no-untyped-call]
