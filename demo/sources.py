"""The sources of reads, by the differences of a node's counters before and after them.

A GET reads more than the object: first the container and its registry, always the same two keys. So does the
container's `@cache-stats`, which reads nothing else. What an item itself cost is the difference between the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from harness.client import CONTAINER, NodeError, Response
from harness.cluster import Cluster
from harness.node import Node

#: The counters under `hits` and `bypasses` in @cache-stats, as the demo's columns.
COLUMNS: Final = {
    "near": "near",
    "own": "own memory",
    "hot": "hot copy",
    "peer": "peer",
    "deduplicated": "waited",
    "database": "database",
    "bypass": "bypass",
}

#: Columns that are shown only if they count something: waiting for another request's load, and reads past the cache.
RARE: Final = ("deduplicated", "bypass")

#: Without it an item's GET reads a second object, the annotation of its Dublin Core behavior.
_ITEM_ONLY: Final = "?omit=guillotina.behaviors.dublincore.IDublinCore"


def item_path(id_: str) -> str:
    """The path at which a GET reads the container, its registry and the item, and nothing else."""
    return f"{CONTAINER}/{id_}{_ITEM_ONLY}"


def counters(cluster: Cluster, node: Node) -> dict[str, Any]:
    """A node's statistics, requested through another node: the library answers them without any read."""
    for observer in cluster.nodes:
        if observer is not node and observer.is_running():
            for stats in observer.http.stats(cluster=True)["peers"]:
                if stats.get("address") == node.address and "error" not in stats:
                    found: dict[str, Any] = stats
                    return found
    raise NodeError(f"no other node gets the statistics of {node.name}")


def sources(stats: dict[str, Any]) -> Counter[str]:
    """How many keys came from each source since the node's start."""
    return Counter({**stats["hits"], "bypass": stats["bypasses"]})


def warm_up(nodes: Iterable[Node]) -> None:
    """Have nodes read the container and its registry, so that these come from their memory from now on."""
    for node in nodes:
        _read_container(node)
        _read_container(node)


def _read_container(node: Node) -> None:
    """Read the container and its registry, and nothing else."""
    node.http.get(f"{CONTAINER}/@cache-stats")


def get_items(cluster: Cluster, node: Node, ids: Iterable[str]) -> tuple[list[Response], Counter[str]]:
    """GET items at a node that was warmed up: the answers, and where the items themselves came from."""
    start = sources(counters(cluster, node))
    _read_container(node)
    between = sources(counters(cluster, node))
    answers = [node.http.get(item_path(id_)) for id_ in ids]
    found = sources(counters(cluster, node))
    found.subtract(between)
    for column, count in between.items():
        found[column] -= (count - start[column]) * len(answers)
    return answers, +found


def total(cluster: Cluster, counter: str) -> int:
    """The sum of a counter of @cache-stats over all running nodes."""
    return sum(counters(cluster, node)[counter] for node in cluster.nodes if node.is_running())
