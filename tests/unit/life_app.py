"""Guillotina with the add-on in this process, over real PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from guillotina import task_vars
from guillotina.component import get_utility, globalregistry
from guillotina.content import create_content_in_container
from guillotina.db.cache.dummy import DummyCache
from guillotina.db.transaction import Transaction
from guillotina.factory import make_app
from guillotina.interfaces import IApplication
from guillotina.transactions import transaction

from guillotina_groupcache import keys
from guillotina_groupcache.interfaces import IGroupcacheUtility
from guillotina_groupcache.keys import Kind
from guillotina_groupcache.utility import GroupcacheUtility

#: Seconds until what is waited for counts as failed.
TIMEOUT = 20.0
DATABASE = "db"


class App(NamedTuple):
    """A running Guillotina."""

    utility: GroupcacheUtility
    database: Any  #: Guillotina's, of the id `DATABASE`


@asynccontextmanager
async def running(dsn: str, groupcache: Mapping[str, Any] | None = None, pool_size: int = 8) -> AsyncIterator[App]:
    """Guillotina over one database, serving; stopped at the end."""
    globalregistry.reset()  # type: ignore[no-untyped-call]
    settings = {
        "applications": ["guillotina", "guillotina_groupcache"],
        "databases": {
            DATABASE: {"storage": "postgresql", "dsn": dsn, "name": DATABASE, "pool_size": pool_size},
        },
        "root_user": {"password": "admin"},
        "load_catalog": False,
        **({} if groupcache is None else {"groupcache": dict(groupcache)}),
    }
    server = make_app(settings=settings, loop=asyncio.get_running_loop())
    try:
        await server.startup()
        root = get_utility(IApplication, name="root")
        await root._async_utilities["guillotina_groupcache"]["task"]  # Guillotina does not wait for it
        app = App(get_utility(IGroupcacheUtility), root[DATABASE])
        await until(lambda: app.utility.local_stats()["serving"], "it to serve")
        await outside_writes_are_noted(app)
        yield app
    finally:
        await server.shutdown()
        globalregistry.reset()  # type: ignore[no-untyped-call]
        task_vars.tm.set(None)
        task_vars.txn.set(None)


async def outside_writes_are_noted(app: App) -> None:
    """Wait until the triggers are there, and the note of their installation, which bumps everything, is applied."""
    members = app.utility.members
    if members.has_table:
        outside = members.outside_writes_of(app.database.storage)
        assert outside is not None
        cannot = outside._mending  # the task that has given up stays
        await until(lambda: outside._were_right or (cannot is not None and cannot.done()), "the triggers")
        await members.join()  # the view that has shown them has shown the note as well


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until a condition is true. Raises `TimeoutError` after `TIMEOUT` seconds."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {TIMEOUT:.0f} s in vain for: {what}")
        await asyncio.sleep(0.01)


async def add(app: App, id_: str, type_: str = "Item", parent: str | None = None, **attributes: Any) -> str:
    """Add an object, to the database's root if no object id of a parent is given; its object id."""
    async with transaction(db=app.database) as txn:
        container = await (txn.manager.get_root() if parent is None else txn.get(parent))
        content = await create_content_in_container(
            container, type_, id_, check_security=False, check_constraints=False, title=id_, **attributes
        )
        return str(content.__uuid__)


async def set_title(app: App, oid: str, title: str) -> None:
    """Change the title of an object in a transaction of its own."""
    async with transaction(db=app.database) as txn:
        content = await txn.get(oid)
        content.title = title
        content.register()


async def title(app: App, oid: str) -> str:
    """The title of an object, read through the cache."""
    async with transaction(db=app.database, read_only=True, abort_when_done=True) as txn:
        found: str = (await txn.get(oid)).title
        return found


def object_key(oid: str) -> bytes:
    """The key of an object."""
    return keys.encode(DATABASE, Kind.OBJECT, oid)


def uncached(app: App) -> Transaction:
    """A transaction that reads with Guillotina's own methods and no cache."""
    return Transaction(app.database.get_transaction_manager(), read_only=True, cache=DummyCache(None))
