"""An add-on's own SQL, in a member's transaction or through its pool, is an outside write too (R14)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from harness.cluster import Cluster
from harness.node import Node
from harness.postgres_server import PostgresServer
from tests.cluster import outside
from tests.cluster.conftest import running_cluster
from tests.cluster.outside import Change, copied
from tests.cluster.steps import at_once, everywhere, new, status_everywhere, title, title_everywhere, uid, wait_settled

#: Services that send a statement in the transaction that Guillotina commits.
INSIDE = ("alone", "before", "after", "in-hook", "in-savepoint", "beside-error", "prepared")
#: Services whose statement is committed by itself.
BESIDE = ("without-transaction", "through-pool", "through-pool-in-transaction")
#: Requests at once, more than a node's pool has connections.
REQUESTS = 12


@pytest.fixture(scope="module")
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    with running_cluster(postgres, ["tests.cluster.outside_addon"]) as cluster:
        yield cluster


def items(cluster: Cluster, name: str) -> tuple[str, str, str, str]:
    """Return the path of an item for Guillotina, path and uid of one for SQL, and the uid of its new state."""
    folder = new(cluster[0], name, type_="Folder")
    own, item, twin = (new(cluster[0], id_, "before", parent=folder) for id_ in ("own", "item", "twin"))
    assert cluster[0].http.patch(twin, {"title": "after"}).status == 204
    wait_settled(cluster)
    for _ in range(3):
        for path in (own, item):
            title_everywhere(cluster, path, "before")
    return own, item, uid(cluster[0], item), uid(cluster[0], twin)


def written_over_every_connection(cluster: Cluster, node: int, path: str) -> None:
    """Write so often at once that each connection of the node's pool was used by a member's transaction."""
    calls = [partial(cluster[node].http.patch, path, {"title": str(i)}) for i in range(REQUESTS)]
    assert {answer.status for answer in at_once(calls)} <= {204, 409}


def is_read(cluster: Cluster, read: Callable[[Node], object], after: object) -> None:
    """Check that every node reads the new value, and goes on reading it."""
    outside.seconds_until_read(cluster.nodes, Change(str, read, None, after))
    outside.wait_noted_by_all(cluster)
    everywhere(cluster, read, after)


@pytest.mark.parametrize("where", INSIDE)
def test_in_a_transaction_of_a_member(cluster: Cluster, where: str) -> None:
    """It is announced with Guillotina's own write, so it is read right after the response, too (R3)."""
    own, item, oid, twin = items(cluster, where)
    answer = cluster[1].http.post(f"{own}/@sql-{where}", {"statement": copied(oid, twin)})
    assert answer.status == 200, answer
    title_everywhere(cluster, item, "after")
    title_everywhere(cluster, own, "before" if where == "alone" else "written")
    assert outside.notes(cluster) == 0
    answer = cluster[2].http.post(f"{own}/@sql-{where}", {"statement": f"DELETE FROM objects WHERE zoid = '{oid}'"})
    assert answer.status == 200, answer
    status_everywhere(cluster, item, 404)


@pytest.mark.parametrize("where", ["after", "in-savepoint", "prepared"])
def test_on_the_row_that_guillotina_writes(cluster: Cluster, where: str) -> None:
    """The member must not push its own write to the owner."""
    own, _, _, twin = items(cluster, f"own-{where}")
    answer = cluster[1].http.post(f"{own}/@sql-{where}", {"statement": copied(uid(cluster[0], own), twin)})
    assert answer.status == 200, answer
    title_everywhere(cluster, own, "after")


@pytest.mark.parametrize("where", BESIDE)
def test_beside_a_transaction_of_a_member(cluster: Cluster, where: str) -> None:
    """It is committed by itself, and noted like any other outside write."""
    own, item, oid, twin = items(cluster, where)
    written_over_every_connection(cluster, 1, own)
    for node in cluster.nodes:
        assert node.http.get(own).status == 200
    answer = cluster[1].http.post(f"{own}/@sql-{where}", {"statement": copied(oid, twin)})
    assert answer.status == 200, answer
    is_read(cluster, lambda node: title(node, item), "after")


def test_a_savepoint_that_is_rolled_back(cluster: Cluster) -> None:
    own, item, oid, twin = items(cluster, "given-up")
    answer = cluster[1].http.post(f"{own}/@sql-given-up", {"statement": copied(oid, twin)})
    assert answer.status == 200, answer
    title_everywhere(cluster, own, "written")
    title_everywhere(cluster, item, "before")


def test_guillotinas_own_writes_are_not_noted(cluster: Cluster) -> None:
    """The statements of members carry the mark: create, change, move, delete with the vacuum."""
    outside.wait_noted_by_all(cluster)
    before = [applied(node) for node in cluster.nodes]
    folder = new(cluster[0], "members", type_="Folder")
    for number, node in enumerate(cluster.nodes):
        item = new(node, f"{number}", "before", parent=folder)
        assert node.http.patch(item, {"title": "after"}).status == 204
        assert node.http.post(f"{item}/@annotation/note", 1).status == 200
        assert node.http.post(f"{item}/@move", {"new_id": f"moved-{number}"}).status == 200
    oid = uid(cluster[0], folder)
    assert cluster[1].http.delete(folder).status == 200
    outside.wait_deleted(cluster, oid)
    wait_settled(cluster)
    assert outside.notes(cluster) == 0
    assert [applied(node) for node in cluster.nodes] == before


def applied(node: Node) -> int:
    """Return how many notes a node has applied since its start."""
    return int(node.http.stats()["outside_writes"]["applied"])
