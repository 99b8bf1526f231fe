"""`guillotina groupcache-uninstall` removes everything that the add-on has created, unless a process uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
import pytest

from guillotina_groupcache.settings.parser import ENABLED_VARIABLE
from harness.local import wait_for
from harness.node import Node
from tests.cluster.steps import execute

OTHER = {"applications": ["guillotina"]}


@pytest.fixture
def node(node: Callable[..., Node], database: str, far: str) -> Callable[..., Node]:
    """Makes nodes over three databases, two of them in one schema."""
    databases = {
        "db": {"storage": "postgresql", "dsn": database, "name": "db"},
        "second": {"storage": "postgresql", "dsn": database, "name": "second", "objects_table_name": "others"},
        "far": {"storage": "postgresql", "dsn": far, "name": "far", "db_schema": "mine"},
        "memory": {"storage": "DUMMY", "name": "memory"},
    }

    def make(overrides: dict[str, Any] | None = None, **section: Any) -> Node:
        return node({"databases": databases, **(overrides or {})}, **section)

    return make


def ours(dsn: str) -> set[str]:
    """Return everything that has our name in a database."""
    found = execute(
        dsn,
        r"SELECT relname::text FROM pg_class WHERE relname LIKE 'groupcache\_%' AND relkind <> 'i'"
        r" UNION SELECT proname FROM pg_proc WHERE proname LIKE 'groupcache\_%'"
        r" UNION SELECT tgname FROM pg_trigger WHERE tgname LIKE '%groupcache\_%'",
    )
    return {name for (name,) in found}


def uninstall(node: Node) -> tuple[int, list[str]]:
    """Run the command, and return its exit status and what it prints."""
    done = node.run_command("groupcache-uninstall")
    return done.returncode, done.stdout.decode().splitlines()


def installed(node: Node, *dsns: str) -> None:
    """Start a node, and wait until it has created everything."""
    node.start()
    node.wait_ready()
    wait_for(lambda: all("groupcache_truncate" in ours(dsn) for dsn in dsns), "the triggers to be there")
    assert node.http.post("/db", {"@type": "Container", "id": "c"}).status == 200


def age_heartbeats(database: str, far: str) -> None:
    """Make the last heartbeats of processes that have ended old ones."""
    execute(database, "UPDATE groupcache_served SET seen = '-infinity'")
    execute(far, "UPDATE mine.groupcache_served SET seen = '-infinity'")


def test_everything_is_removed(node: Callable[..., Node], database: str, far: str) -> None:
    one = node()
    installed(one, database, far)
    code, (line,) = uninstall(one)
    assert code == 1
    assert line.startswith("groupcache-uninstall: db, second: processes still use it: ")
    assert f"{one.address} on " in line, "the running process is not named"
    assert ours(database) and ours(far)
    one.stop()
    age_heartbeats(database, far)
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
    plain = node(OTHER)
    plain.start()
    plain.wait_ready(serving=False)
    assert plain.http.post("/db/c", {"@type": "Item", "id": "item"}).status == 201
    assert ours(database) == set()


def test_a_process_that_serves_another_database_is_not_hurt(node: Callable[..., Node], database: str, far: str) -> None:
    """Nothing is removed anywhere while one of the databases has a process' fresh heartbeat."""
    one = node()
    installed(one, database, far)
    one.stop()
    age_heartbeats(database, far)
    execute(far, "UPDATE mine.groupcache_served SET seen = now()")
    before = ours(database)
    code, (line,) = uninstall(one)
    assert code == 1 and line.startswith(
        "groupcache-uninstall: far: processes still use it: one that serves mine.objects as far: stop them"
    )
    assert ours(database) == before


def test_it_does_not_wait_long_for_a_lock(node: Callable[..., Node], database: str, far: str) -> None:
    one = node()
    installed(one, database, far)
    one.stop()
    age_heartbeats(database, far)
    before = ours(database)
    holder = psycopg2.connect(database)
    try:
        holder.cursor().execute("LOCK TABLE objects IN ACCESS SHARE MODE")
        code, (line,) = uninstall(one)
        assert code == 1
        assert line == "groupcache-uninstall: db, second: somebody uses the tables, as a dump does: try again later"
        assert ours(database) == before, "a part was removed"
    finally:
        holder.close()
    assert uninstall(one)[0] == 0


def test_it_works_where_the_cache_is_switched_off(node: Callable[..., Node], database: str, far: str) -> None:
    one = node()
    installed(one, database, far)
    one.stop()
    age_heartbeats(database, far)
    off = node({"cache": {"strategy": "basic"}}, enabled=False, size="many")
    assert ENABLED_VARIABLE not in off.environ
    assert uninstall(off)[0] == 0
    assert ours(database) == ours(far) == set()


def test_a_database_that_does_not_answer(node: Callable[..., Node], database: str) -> None:
    nowhere = "postgresql://postgres:postgres@127.0.0.1:1/none"
    one = node({"databases": {"gone": {"storage": "postgresql", "dsn": nowhere, "name": "gone"}}})
    code, (line,) = uninstall(one)
    assert code == 1 and line.startswith("groupcache-uninstall: gone: ")
