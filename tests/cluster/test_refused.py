"""A wrong configuration does not start (R15): one line has key, value and remedy, and nothing is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

from guillotina_groupcache.database.claims import PROOF
from harness.local import wait_for
from harness.node import Node, database_settings
from tests.cluster.steps import ends, is_serving

CONTRIB = "guillotina.contrib.cache"
OURS = "guillotina_groupcache"
OFF = ", or give groupcache: {enabled: false} to have no cache"
BASIC = "cache.strategy: 'basic' is in force instead of 'groupcache', by"


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
    assert ends(node(overrides, environ)).startswith(message)


# --- two clusters, two ids, a process alone


@pytest.fixture
def living(node: Callable[..., Node], database: str, far: str) -> Node:
    """A running node that serves `db` and `far`."""
    one = node({"databases": {"db": database_settings(database), "far": database_settings(far)}})
    one.start()
    one.wait_ready()
    return one


def tables(dsn: str) -> set[str]:
    """Return our tables in a database, with their schemas."""
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
    """Each of these configurations would miss the cluster's writes."""
    found = "living processes serve its objects table public.objects"
    here, there = database_settings(database), database_settings(far)
    before = tables(database), tables(far)
    elsewhere = f"{found} with the members table in the schema 'public' of the database {database.rpartition('/')[2]!r}"
    another_id = f"{found} under the id 'db': give one id to one table, the same in every process"
    alone = "groupcache.peers: [] is for the only process that uses a database, but of"
    for message, node_ in [
        (f"databases: 'main': {another_id}", node({"databases": {"main": here, "far": there}})),
        (f"databases: 'again': {another_id}", node({"databases": {"db": here, "again": database_settings(database)}})),
        (f"databases: 'far': {elsewhere}", node({"databases": {"far": there, "db": here}})),
        (f"databases: 'far': {elsewhere}", node({"databases": {"far": there}})),
        (f"{alone} 'db': {found}, as a cluster: take peers out", node(peers=[])),
        (f"{alone} 'b': {found}, as a cluster", node({"databases": {"b": here}}, peers=[])),
    ]:
        assert ends(node_).startswith(message)
    assert (tables(database), tables(far)) == before, "a refused process has created tables"
    assert living.says_serving() and "past the cache" not in living.log()


@pytest.mark.soak
def test_one_table_under_two_ids_of_one_process(node: Callable[..., Node], database: str) -> None:
    twice = {"a": database_settings(database), "b": database_settings(database, db_schema="Public")}
    for section in ({}, {"peers": []}):
        message = ends(node({"databases": twice}, **section))
        assert message == (
            "databases: 'b': living processes serve its objects table Public.objects under the id 'a': give one id to"
            " one table, the same in every process"
        )


def test_a_members_table_in_another_schema(node: Callable[..., Node], living: Node, far: str, database: str) -> None:
    """The first database, and so the members table, is in a schema of its own; the second one is served."""
    mine = database_settings(database, db_schema="mine")
    message = ends(
        node({"databases": {"mine": mine, "db": database_settings(database), "far": database_settings(far)}})
    )
    assert message.startswith("databases: 'db': living processes serve its objects table public.objects with the")


def test_a_process_alone_is_noticed_too(node: Callable[..., Node], database: str) -> None:
    alone = node(peers=[])
    alone.start()
    alone.wait_ready(serving=False)
    message = ends(node())
    assert message == (
        "databases: 'db': living processes serve its objects table public.objects alone, by groupcache: {peers: []}:"
        " take that out of their configuration, or stop them"
    )
    assert "alone too: take peers out" in ends(node(peers=[]))
    script = alone.config_file.with_name("nothing.py")
    script.write_text("async def run(container):\n    pass\n")
    beside = alone.run_command("run", "--script", str(script))
    assert beside.returncode == 1 and b"alone too: take peers out" in beside.stdout
    wait_for(lambda: tables(database) == {"groupcache_served", "groupcache_outside_writes"}, "its tables")
    alone.stop()
    again = node(peers=[])
    again.start()
    again.wait_ready(serving=False)
    assert "waits to see" not in again.log(), "it waits for a process that has ended in order"


@pytest.mark.soak
def test_a_killed_process_keeps_no_other_from_starting(node: Callable[..., Node], far: str, database: str) -> None:
    """Its claim was left behind; the new process has the databases in another order."""
    here, there = database_settings(database), database_settings(far)
    first = node({"databases": {"db": here, "far": there}})
    first.start()
    first.wait_ready()
    first.kill()
    second = node({"databases": {"far": there, "db": here}})
    second.start()
    second.wait_ready()
    assert second.log().count("waits to see whether it still is") == 2


@pytest.mark.soak
def test_a_process_that_was_stopped_for_long(node: Callable[..., Node], living: Node, database: str, far: str) -> None:
    """Others have taken its tables: when it goes on it serves nothing of them, and says why, until these have ended."""
    item = "/db/c/item"
    assert living.http.post("/db", {"@type": "Container", "id": "c"}).status == 200
    assert living.http.post("/db/c", {"@type": "Item", "id": "item", "title": "before"}).status == 201
    assert living.http.get(item).json()["title"] == "before"
    living.pause()
    other = node({"databases": {"far": database_settings(far), "db": database_settings(database)}})
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
    wait_for(lambda: is_serving(living) and not living.http.stats()["unreachable_databases"], "it to serve")
    for _ in range(3):
        assert living.http.get(item).json()["title"] == "three", "it serves an old value"
    assert living.http.patch(item, {"title": "at last"}).status == 204
    assert living.http.get(item).json()["title"] == "at last"
