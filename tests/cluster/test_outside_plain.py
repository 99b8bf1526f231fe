"""A Guillotina without the add-on writes beside the cluster: with its own storage, pool and vacuum."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.client import CONTAINER
from harness.cluster import Cluster
from harness.node import Node
from tests.cluster import outside
from tests.cluster.life_load import under_load
from tests.cluster.outside import Change, children
from tests.cluster.steps import everywhere, json_of, new, title, title_everywhere, uid


@pytest.fixture(scope="module")
def plain(cluster: Cluster) -> Iterator[Node]:
    """A process without the add-on or any other cache, which always reads what the database holds."""
    overrides = {"applications": ["guillotina", "tests.cluster.addon"], "cache": {"strategy": "dummy"}}
    node = Node("plain", cluster.dsn, cluster.folder, overrides=overrides)
    node.start()
    try:
        node.wait_ready(serving=False)
        yield node
    finally:
        node.stop()


@pytest.mark.parametrize("when", [pytest.param("quiet", marks=pytest.mark.soak), "load"])
def test_what_it_writes_is_read_by_all(cluster: Cluster, plain: Node, when: str) -> None:
    folder = new(cluster[0], f"beside-{when}", type_="Folder")
    inner = new(cluster[1], "inner", type_="Folder", parent=folder)
    if when == "quiet":
        everything_it_can_do(cluster, plain, folder, inner)
    else:
        with under_load(cluster.nodes, new(cluster[0], "load", type_="Folder")) as load:
            everything_it_can_do(cluster, plain, folder, inner)
            load.wait_on()


def everything_it_can_do(cluster: Cluster, plain: Node, folder: str, inner: str) -> None:
    """Add, change, annotate, move and delete, and read each at every node."""

    def is_read(read: object, before: object, after: object) -> None:
        assert callable(read)
        outside.seconds_until_read(cluster.nodes, Change(str, read, before, after))

    everywhere(cluster, lambda node: children(node, inner), ({}, 0))
    item = new(plain, "item", "first", parent=inner)
    is_read(lambda node: children(node, inner), ({}, 0), ({"item": "first"}, 1))
    title_everywhere(cluster, item, "first")

    assert plain.http.patch(item, {"title": "second"}).status == 204
    is_read(lambda node: title(node, item), "first", "second")
    assert cluster[0].http.patch(item, {"title": "third"}).status == 204
    title_everywhere(cluster, item, "third")
    assert title(plain, item) == "third"

    assert plain.http.post(f"{item}/@annotation/note", "noted").status == 200
    is_read(lambda node: json_of(node, f"{item}/@annotations").get("note"), None, "noted")

    assert plain.http.post(f"{item}/@move", {"new_id": "moved"}).status == 200
    is_read(lambda node: children(node, inner), ({"item": "third"}, 1), ({"moved": "third"}, 1))

    # Its vacuum deletes what is in the trash, and the database deletes what is below that.
    oids = [uid(cluster[0], path) for path in (inner, f"{inner}/moved")]
    everywhere(cluster, lambda node: [node.http.get(f"{CONTAINER}/@record/{oid}").status for oid in oids], [200, 200])
    assert plain.http.delete(inner).status == 200
    is_read(lambda node: node.http.get(f"{inner}/moved").status, 200, 404)
    is_read(lambda node: [node.http.get(f"{CONTAINER}/@record/{oid}").status for oid in oids], [200, 200], [404, 404])
    is_read(lambda node: children(node, folder), None, ({}, 0))


def test_it_conflicts_with_members_and_loses_nothing(cluster: Cluster, plain: Node) -> None:
    """Each appends to the title that it has read; a process that answers 200 has appended to the stored title."""
    item = new(cluster[0], "both", "")
    appended = 0
    for node in (*cluster.nodes, plain):
        assert node.http.post("/@gate/open").status == 200
    for round_ in range(10):
        for node in (plain, cluster[round_ % 3]):
            status = node.http.post(f"{item}/@append/open/+").status
            assert status in (200, 409)
            appended += status == 200
    assert appended >= 10, "the plain process never writes without a conflict"
    assert title(plain, item) == "+" * appended
    outside.seconds_until_read(cluster.nodes, Change(str, lambda node: title(node, item), "", "+" * appended))
