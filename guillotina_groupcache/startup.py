"""What is done when Guillotina tells that a database is there, at start-up or later."""

from __future__ import annotations

import weakref
from typing import Any

from guillotina import app_settings, configure
from guillotina.component import get_utility, provide_utility, query_utility
from guillotina.db.interfaces import ICockroachStorage, IPostgresStorage, IStorageCreatedEvent
from guillotina.interfaces import (
    IApplicationCleanupEvent,
    IApplicationInitializedEvent,
    IDatabaseInitializedEvent,
)

from guillotina_groupcache import commit, vacuum
from guillotina_groupcache.interfaces import IGroupcacheUtility
from guillotina_groupcache.utility import GroupcacheUtility

#: Storages whose tables were made in this run: a database of the same name may have been there before.
_created: weakref.WeakSet[Any] = weakref.WeakSet()


def _is_strategy() -> bool:
    return bool(app_settings["cache"]["strategy"] == "groupcache")


@configure.subscriber(for_=IStorageCreatedEvent)
async def storage_created(event: Any) -> None:
    """Remember that nothing can be cached of a storage yet."""
    _created.add(event.object)


@configure.subscriber(for_=IDatabaseInitializedEvent)
async def database_initialized(event: Any) -> None:
    """Begin with the first database, before anything can be written to it, and serve it.

    An error here ends the start-up: the process does not run half.
    """
    if not _is_strategy():
        return
    utility = query_utility(IGroupcacheUtility)
    if utility is None:
        utility = GroupcacheUtility()
        await utility.initialize()
        provide_utility(utility, IGroupcacheUtility)
    try:
        await utility.add_database(event.database)
    except BaseException:
        await utility.finalize()
        raise
    storage = event.database.storage
    if storage in _created:
        _created.discard(storage)
        await utility.clear()
    commit.decorate(storage, utility)
    _forget_when_closed(utility, event.database)
    if IPostgresStorage.providedBy(storage) and not ICockroachStorage.providedBy(storage):
        vacuum.decorate(event.database.id, storage, utility)


def _forget_when_closed(utility: GroupcacheUtility, database: Any) -> None:
    """A closed database answers nothing, so its cache must not either."""
    close = database.storage.finalize

    async def finalize() -> None:
        utility.remove_database(database.id)
        await close()

    database.storage.finalize = finalize


@configure.subscriber(for_=IApplicationCleanupEvent)
async def application_cleanup(event: Any) -> None:
    """What the vacuums still have to delete is announced before the cache ends."""
    utility = query_utility(IGroupcacheUtility)
    if utility is not None:
        for storage in utility.storages:
            await vacuum.finish(storage)


@configure.subscriber(for_=IApplicationInitializedEvent)
async def application_initialized(event: Any) -> None:
    """Refuse to start as a peer without a database that can be the referee."""
    if _is_strategy():
        get_utility(IGroupcacheUtility).check_members_table()
