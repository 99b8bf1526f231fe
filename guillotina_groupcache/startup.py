"""What is done when Guillotina tells that a database is there, at start-up or later."""

from __future__ import annotations

import logging
import os
import weakref
from typing import Any, NoReturn

from guillotina import app_settings, configure
from guillotina.component import get_global_components, get_utility, provide_utility, query_utility
from guillotina.db.interfaces import IStorageCreatedEvent
from guillotina.interfaces import (
    IApplicationCleanupEvent,
    IApplicationConfiguredEvent,
    IApplicationInitializedEvent,
    IDatabaseInitializedEvent,
)

from guillotina_groupcache import commit, vacuum
from guillotina_groupcache.interfaces import (
    ConfigurationError,
    GroupcacheError,
    IGroupcacheUtility,
    LibraryError,
)
from guillotina_groupcache.settings import refusals
from guillotina_groupcache.settings.role import is_enabled
from guillotina_groupcache.utility import GroupcacheUtility

logger = logging.getLogger("guillotina_groupcache")

#: Storages whose tables were made in this run: a database of the same name may have been there before.
_created: weakref.WeakSet[Any] = weakref.WeakSet()
#: Utilities whose start is over: what cannot be served after it ends nobody.
_started: weakref.WeakSet[GroupcacheUtility] = weakref.WeakSet()


def current_or_new(settings: Any = None) -> GroupcacheUtility:
    """The factory of `load_utilities`: the utility that the first database has started, or a new one."""
    return query_utility(IGroupcacheUtility) or GroupcacheUtility()


def _is_strategy() -> bool:
    return bool(app_settings["cache"]["strategy"] == refusals.STRATEGY)


@configure.subscriber(for_=IApplicationConfiguredEvent)
async def application_configured(event: Any) -> None:
    """Refuse what cannot be right, or switch this process' cache off: no database has been opened yet (R15).

    What is switched off caches nothing at all, whatever other strategy the settings name: another one would hear no
    more of the cluster's writes than ours.
    """
    try:
        if is_enabled():
            refusals.check(app_settings, os.environ)
            return
    except ConfigurationError as error:
        _refuse(error)
    section = app_settings.get("cache")
    app_settings["cache"] = {**(section if isinstance(section, dict) else {}), "strategy": "dummy"}
    logger.warning("groupcache: switched off: this process reads from the database, caches and announces nothing")


@configure.subscriber(for_=IStorageCreatedEvent)
async def storage_created(event: Any) -> None:
    """Remember that nothing can be cached of a storage yet."""
    _created.add(event.object)


@configure.subscriber(for_=IDatabaseInitializedEvent)
async def database_initialized(event: Any) -> None:
    """Begin with the first database, before anything can be written to it, and serve it.

    An error here ends the start-up: the process does not run half. A database that comes later, and cannot be served,
    is read past the cache, and what is written to it is an outside write (R14): the others go on.
    """
    if not _is_strategy():
        return
    utility = query_utility(IGroupcacheUtility)
    try:
        await _serve(event.database)
    except (ConfigurationError, LibraryError) as error:
        if utility not in _started:
            _refuse(error)
        logger.warning("groupcache: the database %s is not cached: %s", event.database.id, error)


def _refuse(error: GroupcacheError) -> NoReturn:
    """End the start-up: of a `guillotina` command with one line, of an application in a server with the exception."""
    if app_settings.get("_command") is not None:
        raise SystemExit(f"guillotina_groupcache: {error}") from None
    raise error


async def _serve(database: Any) -> None:
    utility = query_utility(IGroupcacheUtility)
    if utility is None:
        utility = GroupcacheUtility()
        provide_utility(utility, IGroupcacheUtility)
    try:
        if not await utility.add_database(database, database.storage in _created):
            return
    except BaseException:
        if utility in _started:
            utility.remove_database(database.id)
            raise
        # A later start in this process begins with a new one.
        get_global_components().unregisterUtility(utility, provided=IGroupcacheUtility)
        await utility.finalize()
        raise
    storage = database.storage
    if _created and utility.serves(database.id):
        _created.clear()
        await utility.clear()
    commit.decorate(storage, utility)
    _forget_when_closed(utility, database)
    if storage in utility.storages:
        vacuum.decorate(database.id, storage, utility)


def _forget_when_closed(utility: GroupcacheUtility, database: Any) -> None:
    """A closed database answers nothing, so its cache must not either."""
    close = database.storage.finalize

    async def finalize() -> None:
        if database.storage in utility.storages:
            await vacuum.finish(database.storage)
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
    if not _is_strategy():
        return
    try:
        utility = get_utility(IGroupcacheUtility)
        await utility.initialize()
        utility.check_members_table()
        _started.add(utility)
    except ConfigurationError as error:
        _refuse(error)
