"""The vacuum deletes what was trashed, and all below it, outside of any Guillotina transaction: so it announces too.

Between the commit that trashes a folder and the vacuum its descendants can be read, and so be cached.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from guillotina import configure
from guillotina.component import query_utility
from guillotina.db.interfaces import IPostgresStorage, IVacuumProvider
from guillotina.db.storages import vacuum

from guillotina_groupcache.commit import announced, doomed_keys
from guillotina_groupcache.interfaces import GroupcacheError, IGroupcacheUtility

if TYPE_CHECKING:
    from guillotina_groupcache.utility import GroupcacheUtility

logger = logging.getLogger("guillotina_groupcache")

#: Seconds: what Guillotina gives its vacuum when it ends.
FINISH_TIMEOUT: Final = 2.0


class _Unfinished(Exception):
    """The vacuum did not say whether its DELETE was done, and the row is still there."""


def decorate(database: str, storage: Any, utility: GroupcacheUtility) -> None:
    """Make a storage's vacuum announce what it deletes. Doing it twice is doing it once."""
    worker = storage.connection_manager.vacuum
    if worker is None or getattr(worker.vacuum, "announces", False):
        return
    delete = worker.vacuum

    async def announced_vacuum(oid: str, table: str) -> None:
        async with storage.pool.acquire(timeout=storage._conn_acquire_timeout) as connection:
            doomed, everything = await doomed_keys(connection, database, table, [oid])
        try:
            async with announced(utility, database, doomed, everything):
                await delete(oid, table)
                # It logs its errors and raises none, so look whether it was done.
                async with storage.pool.acquire(timeout=storage._conn_acquire_timeout) as connection:
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
        async with announced(utility, "", (), everything=True):
            await super().__call__()  # type: ignore[no-untyped-call]
