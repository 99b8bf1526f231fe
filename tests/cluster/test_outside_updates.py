"""Members and outside writers write the same object: no write is lost, and soon none conflicts (R14)."""

from __future__ import annotations

import hashlib

import pytest

from harness.cluster import Cluster
from harness.node import Node
from tests.cluster import outside
from tests.cluster.outside import Change, copied, psql
from tests.cluster.steps import (
    database_transaction,
    held_at_gate,
    json_of,
    new,
    title,
    title_everywhere,
    uid,
    wait_settled,
)


def items(cluster: Cluster, name: str) -> tuple[str, str]:
    """Return the path of an item that every node has in memory, and the statement that writes another title to it."""
    folder = new(cluster[0], name, type_="Folder")
    item, twin = (new(cluster[0], id_, text, parent=folder) for id_, text in (("item", "before"), ("twin", "outside")))
    statement = copied(uid(cluster[0], item), uid(cluster[0], twin))
    wait_settled(cluster)
    for _ in range(3):
        title_everywhere(cluster, item, "before")
    return item, statement


def all_read(cluster: Cluster, path: str, wanted: str) -> None:
    outside.seconds_until_read(cluster.nodes, Change(str, lambda node: title(node, path), "", wanted))


@pytest.mark.parametrize("node", [0, *(pytest.param(node, marks=pytest.mark.soak) for node in (1, 2))])
def test_a_member_has_not_seen_it_yet(cluster: Cluster, node: int) -> None:
    """No view shows it, so the member writes the old object: a conflict, which must not overwrite the outside write."""
    item, statement = items(cluster, f"unseen-{node}")
    with database_transaction(cluster) as cursor:
        cursor.execute("LOCK TABLE groupcache_members")
        psql(cluster.dsn, statement)
        status = cluster[node].http.patch(f"{item}/@blob", {"size": 1}).status
    # A node without a view bypasses after a lease: then it has read the new state.
    assert status in (200, 409)
    all_read(cluster, item, "outside")
    if status == 200:
        assert json_of(cluster[node], f"{item}/@blob") == digest(1)
    assert cluster[node].http.patch(f"{item}/@blob", {"size": 2}).status == 200
    for other in cluster.nodes:
        assert (title(other, item), json_of(other, f"{item}/@blob")) == ("outside", digest(2))


def digest(size: int) -> str:
    """Return what `@blob` answers for so many copies of every byte."""
    return hashlib.sha256(bytes(range(256)) * size).hexdigest()


def test_a_member_that_has_read_before_and_writes_after(cluster: Cluster) -> None:
    """Guillotina repeats a request that conflicts, with what is read then."""
    for i in range(3):
        item, statement = items(cluster, f"between-{i}")
        with held_at_gate(cluster[i], f"{item}/@append/between-{i}/+member", f"between-{i}") as answers:
            psql(cluster.dsn, statement)
            all_read(cluster, item, "outside")
        assert answers[0].status == 200, answers
        title_everywhere(cluster, item, "outside+member")


def test_a_member_deletes_what_was_changed(cluster: Cluster) -> None:
    item, statement = items(cluster, "deleted")
    psql(cluster.dsn, statement)
    assert cluster[1].http.delete(item).status == 200
    for node in cluster.nodes:
        assert node.http.get(item).status == 404


def test_a_member_writes_what_was_deleted(cluster: Cluster) -> None:
    """Its UPDATE finds no row; nothing of it may be read."""
    item, _ = items(cluster, "gone")
    oid = uid(cluster[0], item)
    psql(cluster.dsn, f"DELETE FROM objects WHERE zoid = '{oid}'")
    assert cluster[2].http.patch(item, {"title": "member"}).status in (404, 409)
    gone = Change(str, lambda node: node.http.get(item).status, 200, 404)
    outside.seconds_until_read(cluster.nodes, gone)


def test_a_member_writes_what_was_moved(cluster: Cluster) -> None:
    """A member assumes that an object stays where it has read it: an outside move must not be missed (`_stays`)."""
    for i, node in enumerate(cluster.nodes):
        item, _ = items(cluster, f"moved-{i}")
        folder = item.rpartition("/")[0]
        target = new(cluster[0], "target", type_="Folder", parent=folder)
        for _ in range(2):
            for other in cluster.nodes:
                assert sorted(json_of(other, f"{folder}/@ids")) == ["item", "target", "twin"]
                assert json_of(other, f"{target}/@ids") == []
        oid, to = uid(cluster[0], item), uid(cluster[0], target)
        with held_at_gate(node, f"{item}/@append/moved-{i}/+member", f"moved-{i}") as answers:
            psql(cluster.dsn, f"UPDATE objects SET parent_id = '{to}' WHERE zoid = '{oid}'")
        assert answers[0].status in (404, 409), "it was put back"

        def lists(other: Node, paths: tuple[str, str] = (folder, target)) -> list[list[str]]:
            return [sorted(json_of(other, f"{path}/@ids")) for path in paths]

        outside.seconds_until_read(cluster.nodes, Change(str, lists, [], [["target", "twin"], ["item"]]))
