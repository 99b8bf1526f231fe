"""What cannot be right does not start (R15): one line with the key, the value and the remedy, and nothing is served."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from guillotina_groupcache.database.claims import PROOF
from harness.local import wait_for
from harness.node import Node
from harness.postgres import PostgresServer
from tests.cluster.steps import ends

CONTRIB = "guillotina.contrib.cache"
OURS = "guillotina_groupcache"
OFF = ", or give groupcache: {enabled: false} to have no cache"
BASIC = "cache.strategy: 'basic' is in force instead of 'groupcache', by"


@pytest.fixture
def node(database: str, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes over one database that are not started; they end with the test."""
    nodes: list[Node] = []

    def make(
        dsn: str = database, environ: dict[str, str] | None = None, groupcache: Any = None, **overrides: Any
    ) -> Node:
        nodes.append(Node(f"node{len(nodes)}", dsn, tmp_path, groupcache, overrides, environ))
        return nodes[-1]

    yield make
    for one in nodes:
        one.kill()


# --- another cache strategy


@pytest.mark.parametrize(
    ("overrides", "environ", "message"),
    [
        (
            {"applications": ["guillotina", OURS, CONTRIB]},
            {},
            f"{BASIC} {CONTRIB}, which comes after {OURS} in applications: take {CONTRIB} out of them{OFF}",
        ),
        (
            {"applications": ["guillotina", CONTRIB, OURS]},
            {},
            "load_utilities.guillotina_cache: 'guillotina.contrib.cache.utility.CacheUtility' is another cache, which"
            f" a look-up of ICacheUtility would find: take {CONTRIB} out of applications{OFF}",
        ),
        ({"cache": {"strategy": "basic"}}, {}, f"{BASIC} the configuration: take cache.strategy out of it{OFF}"),
        ({"cache": {"strategy": "dummy"}}, {}, f"{BASIC.replace('basic', 'dummy')} the configuration: take cache."),
        ({}, {"G_cache__strategy": "basic"}, f"{BASIC} the environment variable G_cache__strategy: unset it{OFF}"),
        ({"cache": None}, {}, "cache: None is not a section: take it out of the configuration"),
        (
            {"load_utilities": {OURS: {"provides": "guillotina.interfaces.ICacheUtility", "factory": "a.b"}}},
            {},
            f"load_utilities.{OURS}: {{'provides': 'guillotina.interfaces.ICacheUtility', 'factory': 'a.b'}} differs",
        ),
    ],
    ids=["contrib after", "contrib before", "basic", "dummy", "environment", "no section", "utility"],
)
def test_another_cache(
    node: Callable[..., Node], overrides: dict[str, Any], environ: dict[str, str], message: str
) -> None:
    assert ends(node(environ=environ, **overrides)).startswith(message)


# --- two clusters, two ids, a process alone


def postgresql(dsn: str, **settings: Any) -> dict[str, Any]:
    """A database of Guillotina's settings."""
    return {"storage": "postgresql", "dsn": dsn, "name": "db", "pool_size": 4, **settings}


@pytest.fixture
def far(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a second database."""
    name = f"groupcache_{os.getpid()}_far"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def living(node: Callable[..., Node], database: str, far: str) -> Node:
    """A node that serves `db` and `far`."""
    one = node(databases={"db": postgresql(database), "far": postgresql(far)})
    one.start()
    one.wait_ready()
    return one


def tables(dsn: str) -> set[str]:
    """Our tables in a database, with their schemas."""
    connection = psycopg2.connect(dsn, connect_timeout=10)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT oid::regclass::text FROM pg_class WHERE relname LIKE 'groupcache%' AND relkind = 'r'"
            )
            return {name for (name,) in cursor.fetchall()}
    finally:
        connection.close()


def test_beside_a_living_cluster(node: Callable[..., Node], living: Node, database: str, far: str) -> None:
    """Each of these hears nothing of the others' writes."""
    found = "living processes serve its objects table public.objects"
    here, there = postgresql(database), postgresql(far)
    before = tables(database), tables(far)
    elsewhere = f"{found} with the members table in the schema 'public' of the database {database.rpartition('/')[2]!r}"
    another_id = f"{found} under the id 'db': give one id to one table, the same in every process"
    alone = "groupcache.peers: [] is for the only process that uses a database, but of"
    for message, node_ in [
        (f"databases: 'main': {another_id}", node(databases={"main": here, "far": there})),
        (f"databases: 'again': {another_id}", node(databases={"db": here, "again": postgresql(database)})),
        (f"databases: 'far': {elsewhere}", node(databases={"far": there, "db": here})),
        (f"databases: 'far': {elsewhere}", node(databases={"far": there})),
        (f"{alone} 'db': {found}, as a cluster: take peers out", node(groupcache={"peers": []})),
        (f"{alone} 'b': {found}, as a cluster", node(groupcache={"peers": []}, databases={"b": here})),
    ]:
        assert ends(node_).startswith(message)
    assert (tables(database), tables(far)) == before, "one that was refused has made tables"
    assert living.says_serving() and "past the cache" not in living.log()


@pytest.mark.soak
def test_one_table_under_two_ids_of_one_process(node: Callable[..., Node], database: str) -> None:
    twice = {"a": postgresql(database), "b": postgresql(database, db_schema="Public")}
    for groupcache in (None, {"peers": []}):
        message = ends(node(databases=twice, groupcache=groupcache))
        assert message == (
            "databases: 'b': living processes serve its objects table Public.objects under the id 'a': give one id to"
            " one table, the same in every process"
        )


def test_a_members_table_in_another_schema(node: Callable[..., Node], living: Node, far: str, database: str) -> None:
    """The first database, and with it the members table, lies in a schema of its own; the second one is served."""
    mine = postgresql(database, db_schema="mine")
    message = ends(node(databases={"mine": mine, "db": postgresql(database), "far": postgresql(far)}))
    assert message.startswith("databases: 'db': living processes serve its objects table public.objects with the")


def test_a_process_alone_is_noticed_too(node: Callable[..., Node], database: str) -> None:
    alone = node(groupcache={"peers": []})
    alone.start()
    alone.wait_ready(serving=False)
    message = ends(node())
    assert message == (
        "databases: 'db': living processes serve its objects table public.objects alone, by groupcache: {peers: []}:"
        " take that out of their configuration, or stop them"
    )
    assert "alone too: take peers out" in ends(node(groupcache={"peers": []}))
    script = alone.config_file.with_name("nothing.py")
    script.write_text("async def run(container):\n    pass\n")
    beside = alone.run_command("run", "--script", str(script))
    assert beside.returncode == 1 and b"alone too: take peers out" in beside.stdout
    wait_for(lambda: tables(database) == {"groupcache_served", "groupcache_outside_writes"}, "its tables")
    alone.stop()
    again = node(groupcache={"peers": []})
    again.start()
    again.wait_ready(serving=False)
    assert "waits to see" not in again.log(), "one that ended in order is waited for"


@pytest.mark.soak
def test_what_was_killed_is_followed_by_others(node: Callable[..., Node], far: str, database: str) -> None:
    """In another order: a claim that was left behind keeps nobody from starting."""
    here, there = postgresql(database), postgresql(far)
    first = node(databases={"db": here, "far": there})
    first.start()
    first.wait_ready()
    first.kill()
    second = node(databases={"far": there, "db": here})
    second.start()
    second.wait_ready()
    assert second.log().count("waits to see whether it still is") == 2


@pytest.mark.soak
def test_one_that_stood_still_for_long(node: Callable[..., Node], living: Node, database: str, far: str) -> None:
    """Others have taken its tables: when it goes on it serves nothing of them, and says why; at their end it does."""
    item = "/db/c/item"
    assert living.http.post("/db", {"@type": "Container", "id": "c"}).status == 200
    assert living.http.post("/db/c", {"@type": "Item", "id": "item", "title": "before"}).status == 201
    assert living.http.get(item).json()["title"] == "before"
    living.pause()
    other = node(databases={"far": postgresql(far), "db": postgresql(database)})
    other.start()
    other.wait_ready()
    assert other.http.patch(item, {"title": "after"}).status == 204
    living.resume()
    wait_for(lambda: "is read past the cache: databases: 'db': living processes" in living.log(), "it to notice")
    for title in ("one", "two", "three"):
        assert other.http.patch(item, {"title": title}).status == 204
        assert living.http.get(item).json()["title"] == title
        assert other.http.get(item).json()["title"] == title
    other.stop()
    wait_for(lambda: "the database db is this cluster's again" in living.log(), "it to go on", 10 * PROOF)
    wait_for(lambda: living.http.stats()["serving"] and not living.http.stats()["unreachable_databases"], "it to serve")
    for _ in range(3):
        assert living.http.get(item).json()["title"] == "three", "it serves what it has had from before"
    assert living.http.patch(item, {"title": "at last"}).status == 204
    assert living.http.get(item).json()["title"] == "at last"
