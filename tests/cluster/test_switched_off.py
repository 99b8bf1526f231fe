"""The off switch: a process without the cache beside a cluster, and what it says about itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from guillotina_groupcache.settings.parser import ENABLED_VARIABLE
from harness.client import CONTAINER
from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import Node
from tests.cluster.steps import json_of, member_rows, new, title, title_everywhere

SAYS = "groupcache: switched off: this process reads from the database, caches and announces nothing"
#: Log lines of a process that has the cache.
OF_THE_CACHE = ("a peer at", "a client", "serving: reads are answered from the cache", "a cache of this process alone")


@pytest.fixture(scope="module")
def off(cluster: Cluster) -> Iterator[Node]:
    """A process beside the cluster that is switched off, with an otherwise invalid section."""
    node = Node("off", cluster.dsn, cluster.folder, {"enabled": "false", "size": "many"})
    try:
        node.start()
        node.wait_ready(serving=False)
        yield node
    finally:
        node.kill()


def test_it_says_so_once_and_is_no_member(cluster: Cluster, off: Node) -> None:
    assert off.log().count("switched off") == 1 and SAYS in off.log()
    assert not [text for text in OF_THE_CACHE if text in off.log()]
    assert member_rows(cluster) == len(cluster.nodes)
    assert off.process is not None
    mapped = Path(f"/proc/{off.process.pid}/maps").read_text()
    assert "libgroupcache.so" not in mapped, "the library is loaded"


def test_it_reads_what_is_in_the_database(cluster: Cluster, off: Node) -> None:
    item = new(cluster[0], "read-by-off", "0")
    for i in range(1, 4):
        assert title(off, item) == str(i - 1)
        assert cluster[i % 3].http.patch(item, {"title": str(i)}).status == 204
        assert title(off, item) == str(i)


def test_the_cluster_sees_what_it_writes(cluster: Cluster, off: Node) -> None:
    """It is an outside write: it was not announced."""
    item = new(cluster[0], "written-by-off", "0")
    for i in range(1, 4):
        title_everywhere(cluster, item, str(i - 1))
        assert off.http.patch(item, {"title": str(i)}).status == 204
        for node in cluster.nodes:
            wait_for(lambda node=node, i=i: title(node, item) == str(i), f"{node.name} to read {i}")
        assert cluster[i % 3].http.patch(item, {"title": f"{i}'"}).status == 204, "an unnecessary conflict"
        assert title(off, item) == f"{i}'"
        assert off.http.patch(item, {"title": str(i)}).status == 204
        for node in cluster.nodes:
            wait_for(lambda node=node, i=i: title(node, item) == str(i), f"{node.name} to read {i} again")
    assert off.http.delete(item).status == 200
    for node in cluster.nodes:
        wait_for(lambda node=node: node.http.get(item).status == 404, f"{node.name} to miss it")


def test_it_writes_and_deletes(cluster: Cluster, off: Node) -> None:
    folder = new(off, "made-by-off", "folder", "Folder")
    item = new(off, "item", "0", parent=folder)
    assert off.http.patch(item, {"title": "1"}).status == 204
    assert title(off, item) == "1"
    title_everywhere(cluster, item, "1")
    assert off.http.delete(folder).status == 200
    assert off.http.get(item).status == 404


def test_its_api_says_so(off: Node) -> None:
    for path in ("/@cache-stats", f"{CONTAINER}/@cache-stats", "/@cache-stats?cluster=true"):
        assert json_of(off, path) == {
            "enabled": False,
            "reason": "the cache of this process is switched off (groupcache.enabled)",
        }
    cleared = off.http.post(f"{CONTAINER}/@cache-clear")
    assert cleared.status == 412 and "nothing was dropped" in cleared.json()["reason"]


def test_the_status_command_says_so(cluster: Cluster, off: Node) -> None:
    done = off.run_command("groupcache-status")
    assert done.returncode == 2
    assert done.stdout.decode().splitlines()[-1] == (
        "groupcache-status: GroupcacheError: the cache is switched off here:"
        f" {ENABLED_VARIABLE}=true shows the other processes"
    )


@pytest.mark.parametrize(
    ("section", "overrides"),
    [
        ({}, {}),
        ({"peers": []}, {"cache": {"strategy": "basic"}}),
        ({}, {"cache": "basic"}),
        ({}, {"applications": ["guillotina", "guillotina_groupcache", "guillotina.contrib.cache"]}),
    ],
    ids=["nothing", "alone", "a cache that is no section", "another cache"],
)
def test_the_environment_switches_it_off(cluster: Cluster, section: Any, overrides: Any) -> None:
    """It does so also where everything else is wrong, and the process reads from the database."""
    node = Node("by-environment", cluster.dsn, cluster.folder, section, overrides, {ENABLED_VARIABLE: "off"})
    try:
        node.start()
        node.wait_ready(serving=False)
        assert SAYS in node.log()
        item = f"{CONTAINER}/seen-by-all"
        if cluster[0].http.get(item).status == 404:
            new(cluster[0], "seen-by-all", "0")
        for changed in ("1", "2"):
            title(node, item)
            assert cluster[0].http.patch(item, {"title": changed}).status == 204
            assert title(node, item) == changed
    finally:
        node.kill()


def test_it_creates_no_tables(database: str, tmp_path: Path) -> None:
    node = Node("first", database, tmp_path, {"enabled": False})
    try:
        node.start()
        node.wait_ready(serving=False)
        with psycopg2.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT relname FROM pg_class WHERE relname LIKE 'groupcache%'")
            assert cursor.fetchall() == []
            cursor.execute("SELECT count(*) FROM objects")
            assert cursor.fetchall() != [(0,)]
        connection.close()
    finally:
        node.kill()
