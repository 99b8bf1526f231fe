"""The role of a process, by its databases and what the section says of peers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from guillotina import app_settings
from guillotina.component import get_utility, globalregistry
from guillotina.content import create_content_in_container
from guillotina.db.storages.cockroach import CockroachStorage
from guillotina.db.storages.dummy import DummyStorage
from guillotina.db.storages.pg import PostgresqlStorage
from guillotina.event import notify
from guillotina.events import DatabaseInitializedEvent
from guillotina.factory import make_app
from guillotina.factory.content import Database
from guillotina.interfaces import IApplication
from guillotina.transactions import transaction

from guillotina_groupcache import utility as utility_module
from guillotina_groupcache.interfaces import GroupcacheError, IGroupcacheUtility
from guillotina_groupcache.native import Node
from guillotina_groupcache.settings.parser import parse
from guillotina_groupcache.settings.role import Role, node_config, role_of
from guillotina_groupcache.utility import GroupcacheUtility
from harness.cluster import SECRET
from harness.local import free_port
from tests.unit.life_app import TIMEOUT, add, running, set_title, title, until
from tests.unit.life_node import opened as opened_node

PG: dict[str, Any] = {"storage": "postgresql"}
COCKROACH: dict[str, Any] = {"storage": "cockroach"}
DUMMY: dict[str, Any] = {"storage": "DUMMY"}
DUMMY_FILE: dict[str, Any] = {"storage": "DUMMY_FILE"}

Configure = Callable[..., None]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Put databases, storages and a `groupcache` section into Guillotina's settings for one test."""

    def into_settings(databases: Any = (), storages: Any = (), groupcache: Any = None) -> None:
        for key, value in (("databases", databases), ("storages", storages), ("groupcache", groupcache)):
            monkeypatch.setitem(app_settings, key, value or {})
        monkeypatch.setitem(app_settings, "_command", None)

    return into_settings


def postgresql() -> Any:
    return PostgresqlStorage(dsn="postgresql://nobody@127.0.0.1:1/nothing", name="pg")


def cockroach() -> Any:
    return CockroachStorage(dsn="postgresql://nobody@127.0.0.1:1/nothing", name="crdb")


@pytest.mark.parametrize(
    ("databases", "storages", "first", "role"),
    [
        ({"db": PG}, {}, postgresql, Role.MEMBER),
        ([{"db": PG}], {}, postgresql, Role.MEMBER),
        ({"memory": DUMMY, "db": PG}, {}, DummyStorage, Role.MEMBER),
        ({"crdb": COCKROACH, "db": PG}, {}, cockroach, Role.MEMBER),
        # Whatever it is called, it can hold the members table.
        ({"db": {"storage": "our own name for it"}}, {}, postgresql, Role.MEMBER),
        ({"db": DUMMY}, {}, DummyStorage, Role.ALONE),
        ({"db": DUMMY_FILE}, {"other": DUMMY}, DummyStorage, Role.ALONE),
        ({"db": COCKROACH}, {}, cockroach, Role.UNCACHED),
        ({"memory": DUMMY, "db": COCKROACH}, {}, DummyStorage, Role.UNCACHED),
        ({"db": DUMMY}, {"other": COCKROACH}, DummyStorage, Role.UNCACHED),
        # Which of its databases comes first differs from process to process.
        ({"db": DUMMY}, {"other": PG}, DummyStorage, Role.UNCACHED),
        ({"db": {"storage": "somebody's"}}, {}, DummyStorage, Role.UNCACHED),
    ],
)
def test_the_role_without_peers(configure: Configure, databases: Any, storages: Any, first: Any, role: Role) -> None:
    configure(databases, storages)
    assert role_of(parse(None, {}), first()) is role
    assert role_of(parse({"secret": SECRET, "size": "1MB"}, {}), first()) is role


@pytest.mark.parametrize("storage", [postgresql, cockroach, DummyStorage])
def test_the_role_with_peers(configure: Configure, storage: Any) -> None:
    configure({"db": DUMMY})
    assert role_of(parse({"peers": []}, {}), storage()) is Role.ALONE
    for section in ({"listen": "127.0.0.1:1"}, {"listen": "none"}, {"peers": "database"}, {"peers": ["unix:/g"]}):
        assert role_of(parse({"secret": SECRET, **section}, {}), storage()) is Role.MEMBER


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"listen": "127.0.0.1:1-2"}, {"listen": ["127.0.0.1:1", "127.0.0.1:2"]}),
        ({"listen": "none"}, {}),
        ({"listen": "0.0.0.0:1", "advertise": "a.b"}, {"listen": ["0.0.0.0:1"], "advertise": "a.b"}),
        ({"listen": "127.0.0.1:1", "advertise": "a.b:2"}, {"listen": ["127.0.0.1:1"], "advertise": "a.b:2"}),
        (
            {"listen": "127.0.0.1:1", "peers": ["dns:a.b:2"]},
            {"listen": ["127.0.0.1:1"], "admit": ("127.0.0.1:1", "dns:a.b:2")},
        ),
        ({"peers": ["unix:/g"]}, {"admit": ("unix:/g",)}),
    ],
)
async def test_the_configuration_of_the_library(section: dict[str, Any], expected: dict[str, Any]) -> None:
    config = await node_config(parse({"secret": SECRET, **section}, {}), Role.MEMBER, None, 0)
    found = {key: config[key] for key in ("listen", "advertise", "admit", "alone")}
    assert found == {"listen": [], "advertise": "", "admit": (), "alone": False, **expected}


async def test_the_configuration_of_a_commands_library() -> None:
    """It does not listen, so it has no address to advertise, but it admits the server."""
    server = parse({"listen": "0.0.0.0:1", "advertise": "a.b", "peers": ["unix:/g"], "secret": SECRET}, {})
    config = await node_config(server.for_command(), Role.MEMBER, None, 0)
    assert (config["listen"], config["advertise"], config["admit"]) == ([], "", ("a.b:1", "unix:/g"))


async def test_cockroach_alone_is_not_cached(configure: Configure, caplog: pytest.LogCaptureFixture) -> None:
    configure({"db": COCKROACH})
    utility = GroupcacheUtility()
    with caplog.at_level(logging.WARNING):
        assert not await utility.add_database(Database("db", cockroach()))
    assert not utility.serves("db") and utility.local_stats() == {} and utility.members.storages == []
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("groupcache: the database db is not cached: there is no PostgreSQL in `databases`")
    assert "groupcache: {peers: []}" in line
    # No process caches anything, so none has to be notified.
    assert await utility.events.announce("db", [b"key"]) == 0
    await utility.finalize()


async def test_cockroach_of_the_only_process(configure: Configure) -> None:
    configure({"db": COCKROACH}, groupcache={"peers": []})
    utility = GroupcacheUtility()
    try:
        assert await utility.add_database(Database("db", cockroach()))
        assert utility.serves("db") and utility.local_stats()["serving"]
    finally:
        await utility.finalize()


async def test_a_shared_database_that_comes_to_a_process_alone(configure: Configure) -> None:
    """A process that hears of no other process' writes must not cache it."""
    configure({"db": DUMMY})
    utility = GroupcacheUtility()
    try:
        assert await utility.add_database(Database("db", DummyStorage()))
        for late in (postgresql(), cockroach()):
            assert not await utility.add_database(Database("late", late))
        assert utility.serves("db") and not utility.serves("late")
    finally:
        await utility.finalize()


async def test_nothing_is_written_before_there_is_a_referee(configure: Configure) -> None:
    """Another process may have cached it already."""
    configure({"crdb": COCKROACH, "db": PG})
    utility = GroupcacheUtility()
    assert await utility.add_database(Database("crdb", cockroach()))
    assert not utility.serves("crdb")
    with pytest.raises(GroupcacheError, match="has not begun"):
        await utility.events.announce("crdb", [b"key"])
    await utility.finalize()


async def test_a_start_that_is_given_up(configure: Configure, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library may be about to listen then: it is closed again."""
    listen = f"127.0.0.1:{free_port()}"
    configure({"db": PG}, groupcache={"listen": listen, "secret": SECRET})
    listens, go_on = threading.Event(), threading.Event()

    def opened(config: dict[str, Any]) -> Node:
        node = Node(config)
        listens.set()
        go_on.wait(TIMEOUT)
        return node

    monkeypatch.setattr(utility_module, "Node", opened)
    utility = GroupcacheUtility()
    storage = PostgresqlStorage(dsn=database, name="pg")
    starting = asyncio.ensure_future(utility.add_database(Database("db", storage)))
    await asyncio.get_running_loop().run_in_executor(None, listens.wait, TIMEOUT)
    starting.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert utility.local_stats() == {}
    with opened_node(alone=False, listen=[listen], secret=SECRET):
        pass  # the address is free


def running_app(databases: Any, storages: Any) -> Any:
    globalregistry.reset()  # type: ignore[no-untyped-call]
    return make_app(
        settings={
            "applications": ["guillotina", "guillotina_groupcache"],
            "databases": databases,
            "storages": storages,
            "root_user": {"password": "admin"},
            "load_catalog": False,
        },
        loop=asyncio.get_running_loop(),
    )


async def test_a_database_that_is_there_when_asked_for(database: str) -> None:
    """Nothing of it is cached, it works, and the start does not fail because it is not there."""
    dsn, _, name = database.rpartition("/")
    server = running_app({"memory": {"storage": "DUMMY"}}, {"pg": {**PG, "dsn": dsn, "name": "pg"}})
    try:
        await server.startup()
        root = get_utility(IApplication, name="root")
        utility = get_utility(IGroupcacheUtility)
        found = await root.async_get(name)
        assert not utility.serves(name) and not utility.serves("memory")
        async with transaction(db=found) as txn:
            made = await create_content_in_container(
                await txn.manager.get_root(), "Container", "c", check_security=False, check_constraints=False
            )
        async with transaction(db=found, read_only=True, abort_when_done=True) as txn:
            assert (await txn.get(made.__uuid__)).id == "c"
        assert not hasattr(found.storage.commit, "announces")
    finally:
        await server.shutdown()
        globalregistry.reset()  # type: ignore[no-untyped-call]


async def test_the_referee_need_not_come_first(database: str) -> None:
    server = running_app({"memory": {"storage": "DUMMY"}, "db": {**PG, "dsn": database, "name": "db"}}, {})
    try:
        await server.startup()
        utility = get_utility(IGroupcacheUtility)
        await until(lambda: utility.local_stats()["serving"], "it to serve")
        assert utility.serves("memory") and utility.serves("db")
    finally:
        await server.shutdown()
        globalregistry.reset()  # type: ignore[no-untyped-call]


async def test_a_database_that_comes_later_and_cannot_be_served(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is read past the cache, and the databases that are served are not harmed."""
    async with running(database) as app:
        again = Database("again", app.database.storage)
        await notify(DatabaseInitializedEvent(again))
        assert "the database again is not cached: databases: 'again': living processes serve its objects" in caplog.text
        assert not app.utility.serves("again") and app.utility.serves("db")
        oid = await add(app, "c", "Container")
        await set_title(app, oid, "as before")
        assert await title(app, oid) == "as before"
        assert app.utility.local_stats()["serving"] and app.utility.local_stats()["unreachable_databases"] == ["again"]
