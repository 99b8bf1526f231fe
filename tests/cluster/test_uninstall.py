"""`guillotina groupcache-uninstall`: what the add-on has made is removed, and nobody who uses it is hurt."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from guillotina_groupcache.settings.parser import ENABLED_VARIABLE
from harness.local import wait_for
from harness.node import Node
from harness.postgres import PostgresServer
from tests.cluster.steps import execute

OTHER = {"applications": ["guillotina"]}


@pytest.fixture
def far(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a second database."""
    name = f"groupcache_{os.getpid()}_uninstall"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def node(database: str, far: str, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes over three databases, two of them in one schema."""
    nodes: list[Node] = []

    def make(groupcache: Any = None, **overrides: Any) -> Node:
        databases = {
            "db": {"storage": "postgresql", "dsn": database, "name": "db"},
            "second": {"storage": "postgresql", "dsn": database, "name": "second", "objects_table_name": "others"},
            "far": {"storage": "postgresql", "dsn": far, "name": "far", "db_schema": "mine"},
            "memory": {"storage": "DUMMY", "name": "memory"},
        }
        nodes.append(Node(f"node{len(nodes)}", database, tmp_path, groupcache, {"databases": databases, **overrides}))
        return nodes[-1]

    yield make
    for one in nodes:
        one.kill()


def ours(dsn: str) -> set[str]:
    """All that has our name in a database."""
    found = execute(
        dsn,
        r"SELECT relname::text FROM pg_class WHERE relname LIKE 'groupcache\_%' AND relkind <> 'i'"
        r" UNION SELECT proname FROM pg_proc WHERE proname LIKE 'groupcache\_%'"
        r" UNION SELECT tgname FROM pg_trigger WHERE tgname LIKE '%groupcache\_%'",
    )
    return {name for (name,) in found}


def uninstall(node: Node) -> tuple[int, list[str]]:
    """The command's exit status, and what it prints."""
    done = node.run_command("groupcache-uninstall")
    return done.returncode, done.stdout.decode().splitlines()


def installed(node: Node, *dsns: str) -> None:
    """Start a node, and wait until it has made everything."""
    node.start()
    node.wait_ready()
    wait_for(lambda: all("groupcache_truncate" in ours(dsn) for dsn in dsns), "the triggers to be there")
    assert node.http.post("/db", {"@type": "Container", "id": "c"}).status == 200


def silent(database: str, far: str) -> None:
    """Make the last sign of life of a process that has ended an old one."""
    execute(database, "UPDATE groupcache_served SET seen = '-infinity'")
    execute(far, "UPDATE mine.groupcache_served SET seen = '-infinity'")


def test_everything_is_removed(node: Callable[..., Node], database: str, far: str) -> None:
    one = node()
    installed(one, database, far)
    code, (line,) = uninstall(one)
    assert code == 1
    assert line.startswith("groupcache-uninstall: db, second: processes still use it: ")
    assert f"{one.address} on " in line, "the living process is not named"
    assert ours(database) and ours(far)
    one.stop()
    silent(database, far)
    before = ours(database) | ours(far)
    code, lines = uninstall(one)
    assert code == 0, lines
    assert ours(database) == ours(far) == set()
    assert "memory: removed nothing: it is not PostgreSQL" in lines
    assert all(any(name in line for line in lines) for name in before), lines
    assert "db, second: removed trigger groupcache_insert on others" in lines
    assert "far: removed table mine.groupcache_served" in lines
    code, lines = uninstall(one)
    assert code == 0 and [line.partition(": ")[2] for line in lines] == [
        "removed nothing: the cache has made nothing there",
        "removed nothing: the cache has made nothing there",
        "removed nothing: it is not PostgreSQL",
    ]
    plain = node(**OTHER)
    plain.start()
    plain.wait_ready(serving=False)
    assert plain.http.post("/db/c", {"@type": "Item", "id": "item"}).status == 201
    assert ours(database) == set()


def test_whoever_serves_another_database_is_not_hurt(node: Callable[..., Node], database: str, far: str) -> None:
    """Nothing is removed anywhere while a process gives signs of life in one of the databases."""
    one = node()
    installed(one, database, far)
    one.stop()
    silent(database, far)
    execute(far, "UPDATE mine.groupcache_served SET seen = now()")
    before = ours(database)
    code, (line,) = uninstall(one)
    assert code == 1 and line.startswith(
        "groupcache-uninstall: far: processes still use it: one that serves mine.objects as far: stop them"
    )
    assert ours(database) == before


def test_who_holds_a_lock_is_not_waited_for_long(node: Callable[..., Node], database: str, far: str) -> None:
    one = node()
    installed(one, database, far)
    one.stop()
    silent(database, far)
    before = ours(database)
    holder = psycopg2.connect(database)
    try:
        holder.cursor().execute("LOCK TABLE objects IN ACCESS SHARE MODE")
        code, (line,) = uninstall(one)
        assert code == 1
        assert line == "groupcache-uninstall: db, second: somebody uses the tables, as a dump does: try again later"
        assert ours(database) == before, "a part of it is gone"
    finally:
        holder.close()
    assert uninstall(one)[0] == 0


def test_it_works_where_the_cache_is_switched_off(node: Callable[..., Node], database: str, far: str) -> None:
    one = node()
    installed(one, database, far)
    one.stop()
    silent(database, far)
    off = node({"enabled": False, "size": "many"}, cache={"strategy": "basic"})
    assert ENABLED_VARIABLE not in off.environ
    assert uninstall(off)[0] == 0
    assert ours(database) == ours(far) == set()


def test_a_database_that_does_not_answer(node: Callable[..., Node], database: str) -> None:
    nowhere = "postgresql://postgres:postgres@127.0.0.1:1/none"
    one = node(databases={"gone": {"storage": "postgresql", "dsn": nowhere, "name": "gone"}})
    code, (line,) = uninstall(one)
    assert code == 1 and line.startswith("groupcache-uninstall: gone: ")
