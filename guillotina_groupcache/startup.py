"""What the add-on does at Guillotina's events: settings are configured, a database is there, the application ends."""

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
from guillotina_groupcache.interfaces import ConfigurationError, GroupcacheError, IGroupcacheUtility, LibraryError
from guillotina_groupcache.settings import refusals
from guillotina_groupcache.settings.role import is_enabled
from guillotina_groupcache.utility import GroupcacheUtility

logger = logging.getLogger("guillotina_groupcache")

#: Storages whose tables were made in this run: an earlier database may have had the same name.
_created: weakref.WeakSet[Any] = weakref.WeakSet()
#: Utilities whose start is over: a database that comes later and cannot be served does not end the process.
_started: weakref.WeakSet[GroupcacheUtility] = weakref.WeakSet()


def current_or_new(settings: Any = None) -> GroupcacheUtility:
    """The utility that the first database has started, or a new one: the factory of `load_utilities`."""
    return query_utility(IGroupcacheUtility) or GroupcacheUtility()


def _is_strategy() -> bool:
    return bool(app_settings["cache"]["strategy"] == refusals.STRATEGY)


@configure.subscriber(for_=IApplicationConfiguredEvent)
async def application_configured(event: Any) -> None:
    """Refuse wrong settings, or switch this process' cache off, before a database is opened (R15).

    A process that is switched off caches nothing at all, whatever other strategy the settings name: that one would not
    hear of the cluster's writes either.
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
    """Remember that nothing of a storage can be cached yet."""
    _created.add(event.object)


@configure.subscriber(for_=IDatabaseInitializedEvent)
async def database_initialized(event: Any) -> None:
    """Serve a database before anything can be written to it; with the first one the cache begins.

    An error here ends the start-up, so that the process does not run without a part of its cache. A database that comes
    after the start and cannot be served is read past the cache, and writes to it are outside writes (R14).
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
    """End the start-up: a `guillotina` command with one line, an application in an ASGI server with the exception."""
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
        # A later start in this process begins with a new utility.
        get_global_components().unregisterUtility(utility, provided=IGroupcacheUtility)
        await utility.finalize()
        raise
    storage = database.storage
    if _created and utility.serves(database.id):
        _created.clear()
        await utility.clear()
    commit.decorate(storage, utility)
    _forget_when_closed(utility, database)
    if storage in utility.members.storages:
        vacuum.decorate(database.id, storage, utility)


def _forget_when_closed(utility: GroupcacheUtility, database: Any) -> None:
    """Serve a database no more when it is closed: it answers nothing then, so its cache must not either."""
    close = database.storage.finalize

    async def finalize() -> None:
        if database.storage in utility.members.storages:
            await vacuum.finish(database.storage)
        utility.remove_database(database.id)
        await close()

    database.storage.finalize = finalize


@configure.subscriber(for_=IApplicationCleanupEvent)
async def application_cleanup(event: Any) -> None:
    """Let the vacuums announce and delete what is left to them, before the cache ends."""
    utility = query_utility(IGroupcacheUtility)
    if utility is not None:
        for storage in utility.members.storages:
            await vacuum.finish(storage)


@configure.subscriber(for_=IApplicationInitializedEvent)
async def application_initialized(event: Any) -> None:
    """Refuse to start as a peer without a database that can hold the members table."""
    if not _is_strategy():
        return
    try:
        utility = get_utility(IGroupcacheUtility)
        await utility.initialize()
        utility.check_members_table()
        _started.add(utility)
    except ConfigurationError as error:
        _refuse(error)
