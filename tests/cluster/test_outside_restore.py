"""Rows are restored under a running cluster, in all ways of pg_restore, into an empty table (R14)."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import Node
from tests.cluster import outside, outside_changes
from tests.cluster.outside import Change, program, psql
from tests.cluster.steps import json_of, new, title_everywhere

ITEMS = 10
#: The options of pg_restore, and the server's settings for it.
WAYS = {
    "plainly": ((), ""),
    # Tools set this to keep triggers from firing.
    "as-a-replica": ((), "-c session_replication_role=replica"),
    # No trigger fires, and afterwards they no longer fire for replicas: the nodes see that.
    "without-triggers": (("--disable-triggers",), ""),
}


def titles(node: Node, folder: str) -> tuple[dict[str, str], list[str]]:
    """Return the titles by a listing, and by single reads."""
    listed = json_of(node, f"{folder}/@titles")
    return listed, [json_of(node, f"{folder}/{id_}")["title"] for id_ in listed]


@pytest.mark.parametrize(
    "way", ["without-triggers", *(pytest.param(way, marks=pytest.mark.soak) for way in ("plainly", "as-a-replica"))]
)
def test_restored_rows(cluster: Cluster, tmp_path: Path, way: str) -> None:
    folder = new(cluster[0], way, type_="Folder")
    items = [new(cluster[0], f"{i}", "dumped", parent=folder) for i in range(ITEMS)]
    dump = str(tmp_path / "dump")
    program("pg_dump", "--data-only", "--table=objects", "--format=custom", f"--file={dump}", cluster.dsn)
    later = new(cluster[0], "later", "not dumped", parent=folder)
    for i, item in enumerate(items):
        assert cluster[i % 3].http.patch(item, {"title": "changed"}).status == 204
    for _ in range(3):
        for path, text in ((later, "not dumped"), *((item, "changed") for item in items)):
            title_everywhere(cluster, path, text)

    psql(cluster.dsn, "TRUNCATE objects CASCADE")
    gone = Change(str, lambda node: [node.http.get(path).status // 100 for path in items], [], [4] * ITEMS)
    outside.seconds_until_read(cluster.nodes, gone)
    options, settings = WAYS[way]
    program("pg_restore", "--data-only", *options, f"--dbname={cluster.dsn}", dump, PGOPTIONS=settings)
    wanted = {f"{i}": "dumped" for i in range(ITEMS)}
    restored = Change(str, lambda node: titles(node, folder), None, (wanted, ["dumped"] * ITEMS))
    outside.seconds_until_read(cluster.nodes, restored)
    assert all(node.http.get(later).status == 404 for node in cluster.nodes)

    # Members write restored objects, and the triggers are, or are again, as they were.
    assert cluster[1].http.patch(items[0], {"title": "a member's"}).status == 204
    title_everywhere(cluster, items[0], "a member's")
    change = outside_changes.CHANGES["as_a_replica"](cluster, new(cluster[0], "after", type_="Folder", parent=folder))
    wait_for(lambda: set(outside.triggers(cluster).values()) == {"A"}, "the triggers to fire for replicas too")
    outside.wait_noted_by_all(cluster)
    outside.is_hot(cluster, [change])
    change.write(cluster.dsn)
    outside.seconds_until_read(cluster.nodes, change)
    outside.wait_noted_by_all(cluster)
    cluster.wait_whole()
