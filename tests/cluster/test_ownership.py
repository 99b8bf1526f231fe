"""Ownership follows the members, and nothing else moves: a rolling restart costs only each node's own share."""

from __future__ import annotations

from collections.abc import Sequence

from harness.cluster import Cluster
from tests.cluster.steps import member_rows, new, title

ITEMS = 120


def loads(cluster: Cluster) -> int:
    """Return how many keys the running processes have loaded from the database."""
    return sum(node.http.stats()["local_loads"] for node in cluster.nodes)


def read_all(cluster: Cluster, paths: Sequence[str]) -> None:
    """Read every item at one node or another."""
    for i, path in enumerate(paths):
        assert title(cluster[i % len(cluster.nodes)], path) == f"Item {i}"


def test_a_rolling_restart_loses_no_other_nodes_cache(cluster: Cluster) -> None:
    folder = new(cluster[0], "rolling", type_="Folder")
    paths = [new(cluster[0], f"item-{i}", f"Item {i}", parent=folder) for i in range(ITEMS)]
    for _ in range(2):
        read_all(cluster, paths)
    epoch = cluster[0].http.stats()["epoch"]
    for node in cluster.nodes:
        others = [other for other in cluster.nodes if other is not node]
        logs = [other.log() for other in others]
        node.stop()
        assert member_rows(cluster) == 2, "it leaves its row behind"
        cluster.start(node)
        before = loads(cluster)
        read_all(cluster, paths)
        # It owned a third, and has lost all of it: each item is read as a child, with one annotation.
        assert loads(cluster) - before < 2 * ITEMS // 2 + 10
        for other, log in zip(others, logs, strict=True):
            assert "is marked out" not in other.log().removeprefix(log)
    assert {node.http.stats()["epoch"] for node in cluster.nodes} == {epoch}


def test_a_node_that_joins_takes_its_share(cluster: Cluster) -> None:
    folder = new(cluster[0], "joining", type_="Folder")
    paths = [new(cluster[0], f"item-{i}", f"Item {i}", parent=folder) for i in range(ITEMS)]
    for _ in range(2):
        read_all(cluster, paths)
    cluster.start(cluster.add_node())
    before = loads(cluster)
    read_all(cluster, paths)
    moved = loads(cluster) - before
    cluster.nodes.pop().stop()
    # A quarter of two keys per item; hot copies save some.
    assert 0 < moved < 2 * ITEMS // 2, moved
