"""The vacuum deletes trashed objects, and all below them, outside of any Guillotina transaction: it announces that too.

Between the commit that trashes a folder and the vacuum its descendants can be read, and so be cached.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg
from guillotina import configure
from guillotina.component import query_utility
from guillotina.const import TRASHED_ID
from guillotina.db.interfaces import IPostgresStorage, IVacuumProvider
from guillotina.db.storages import vacuum

from guillotina_groupcache.cascade import Deletion, deletion
from guillotina_groupcache.interfaces import GroupcacheError, IGroupcacheUtility
from guillotina_groupcache.keys import place_keys, stored_oid

if TYPE_CHECKING:
    from guillotina_groupcache.utility import GroupcacheUtility

logger = logging.getLogger("guillotina_groupcache")

#: Seconds: what Guillotina gives its vacuum when it ends.
FINISH_TIMEOUT: Final = 2.0
#: Seconds before a deletion that has failed is tried again: doubled each time, up to a bound.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
#: The most trashed objects, and children of theirs, in one transaction of `dbvacuum`: as in Guillotina's own.
BATCH: Final = 20
CHILDREN: Final = 100

_DELETE: Final = "DELETE FROM {table} WHERE zoid = ANY($1)"
_TRASHED: Final = f"SELECT zoid FROM {{table}} WHERE parent_id = '{TRASHED_ID}' ORDER BY zoid LIMIT {BATCH}"
_CHILDREN: Final = f"""
SELECT zoid, parent_id, id, of FROM {{table}} WHERE parent_id = ANY($1) ORDER BY zoid LIMIT {CHILDREN} FOR UPDATE
"""
_TRASH: Final = f"UPDATE {{table}} SET parent_id = '{TRASHED_ID}' WHERE zoid = ANY($1)"

#: Temporary errors: no connection, a deadlock, a lock that was not got in time, a server that lacks resources, starts
#: or stops, an announcement that a member has not acknowledged in time.
_TEMPORARY: Final = (
    GroupcacheError,
    OSError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)

T = TypeVar("T")


class Trash:
    """The vacuum of a connection manager, which several storages may share.

    A deletion that a temporary error has ended is tried again until the vacuum is closed.
    """

    __slots__ = ("_attempts", "_closing", "_failing", "_left", "_storages", "_unserved", "_utility", "_worker")

    def __init__(self, worker: Any, utility: GroupcacheUtility) -> None:
        self._worker = worker
        self._unserved = worker.vacuum  # Guillotina's own, for tables that are not served
        self._utility = utility
        self._storages: dict[str, tuple[str, Any]] = {}  # by table
        self._closing = asyncio.Event()
        self._attempts: set[asyncio.Future[None]] = set()
        self._failing = False
        self._left = 0
        worker.vacuum = self.delete

    def add(self, database: str, storage: Any) -> None:
        """Delete from a storage's table with an announcement."""
        self._storages[storage.objects_table_name] = database, storage

    async def delete(self, oid: str, table: str) -> None:
        """Delete an object and all below it. It replaces the vacuum's own method, which raises nothing either."""
        if table not in self._storages:
            await self._unserved(oid, table)
            return
        pause, closing = FIRST_PAUSE, self._closing
        while not closing.is_set():
            attempt = asyncio.ensure_future(self._try(oid, *self._storages[table]))
            self._attempts.add(attempt)
            await asyncio.wait([attempt])
            self._attempts.discard(attempt)
            error = asyncio.CancelledError() if attempt.cancelled() else attempt.exception()
            if error is None or not isinstance(error, (*_TEMPORARY, asyncio.CancelledError)):
                self._log(oid, error)
                return
            if not self._failing and not closing.is_set():
                self._failing = True
                logger.warning("groupcache: deleted objects stay in the trash while this lasts: %r", error)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(closing.wait(), pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._left += 1

    async def _try(self, oid: str, database: str, storage: Any) -> None:
        async with deletion(self._utility, database, storage) as work:
            await delete_trees(work, storage, [stored_oid(oid)])

    def _log(self, oid: str, error: BaseException | None) -> None:
        if error is not None:
            logger.warning("groupcache: object %s stays in the trash: %r", oid, error)
        elif self._failing:
            self._failing = False
            logger.info("groupcache: deleted objects leave the trash again")

    async def close(self) -> None:
        """Delete what is queued, for two seconds at most, then give up; objects that are left are logged."""
        queue = self._worker._queue
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(queue.join(), FINISH_TIMEOUT)
        self._closing.set()
        for attempt in self._attempts:
            attempt.cancel()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(queue.join(), FINISH_TIMEOUT)
        self._closing = asyncio.Event()  # for another storage, which goes on
        # An attempt that was not cancelled in time is still a task of the queue, as are those behind it.
        left, self._left = self._left + queue._unfinished_tasks, 0
        if left:
            logger.warning("groupcache: %d deleted objects stay in the trash: `guillotina dbvacuum` deletes them", left)


def decorate(database: str, storage: Any, utility: GroupcacheUtility) -> None:
    """Make a storage's vacuum announce what it deletes. Decorating twice has no effect."""
    worker = storage.connection_manager.vacuum
    if worker is not None:
        trash = _trash_of(worker) or Trash(worker, utility)
        trash.add(database, storage)


def _trash_of(worker: Any) -> Trash | None:
    """Our part of a vacuum, if it was decorated."""
    found = getattr(worker.vacuum, "__self__", None)
    return found if isinstance(found, Trash) else None


async def finish(storage: Any) -> None:
    """Let a storage's vacuum delete what is queued while that can still be announced."""
    worker = storage.connection_manager.vacuum
    trash = None if worker is None else _trash_of(worker)
    if trash is not None:
        await trash.close()


async def delete_trees(work: Deletion, storage: Any, oids: list[str]) -> None:
    """Delete rows, and all rows below them."""
    if await work.lock_tree(oids):
        await work.write(_DELETE, oids)


@configure.adapter(for_=IPostgresStorage, provides=IVacuumProvider)
class Vacuum(vacuum.PGVacuum):
    """`guillotina dbvacuum`: as Guillotina's own, but in transactions that are announced, one per batch.

    Children are trashed before their parents are deleted, so that no transaction grows with the tree.
    """

    async def __call__(self) -> None:
        utility = query_utility(IGroupcacheUtility)
        database = None if utility is None else utility.members.database_of(self._storage)
        if utility is None or database is None:
            await super().__call__()  # type: ignore[no-untyped-call]
            return
        while batch := await self._tried(self._trashed_batch):
            while trashed := await self._tried(partial(self._trash_children, utility, database, batch)):
                self._trashed += trashed
                await self._show()
            await self._tried(partial(self._delete, utility, database, batch))
            self._deleted += len(batch)
            await self._show()
        self.status("", "\n")  # type: ignore[no-untyped-call]

    async def _trashed_batch(self) -> list[str]:
        storage = self._storage
        async with storage.pool.acquire(timeout=storage._conn_acquire_timeout) as connection:
            rows = await connection.fetch(_TRASHED.format(table=storage.objects_table_name))
        return [row["zoid"] for row in rows]

    async def _show(self) -> None:
        self.status()  # type: ignore[no-untyped-call]
        await asyncio.sleep(self._pause)

    async def _tried(self, step: Callable[[], Awaitable[T]]) -> T:
        """The result of a step, which is tried again a few times after temporary errors."""
        for pause in (FIRST_PAUSE, 10 * FIRST_PAUSE, 50 * FIRST_PAUSE):
            try:
                return await step()
            except _TEMPORARY as error:
                logger.warning("groupcache: dbvacuum tries again in %.1f s: %r", pause, error)
                await asyncio.sleep(pause)
        return await step()

    async def _trash_children(self, utility: GroupcacheUtility, database: str, parents: list[str]) -> int:
        async with deletion(utility, database, self._storage) as work:
            children = await work.lock(_CHILDREN, parents)
            if children:
                oids, names = [row["zoid"] for row in children], {row["id"] for row in children}
                await work.write(_TRASH, oids)
                work.changes.keys.update(place_keys(database, None, TRASHED_ID, names, with_lists=True))
            return len(children)

    async def _delete(self, utility: GroupcacheUtility, database: str, batch: list[str]) -> None:
        async with deletion(utility, database, self._storage) as work:
            await delete_trees(work, self._storage, batch)
