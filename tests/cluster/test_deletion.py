"""A deleted folder takes its descendants with it: PostgreSQL deletes them, and no statement names them (R11)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from guillotina_groupcache.cascade import MAX_ROWS
from harness.client import CONTAINER
from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import Node
from tests.cluster.steps import (
    database_transaction,
    everywhere,
    forget_storage_calls,
    is_any_waiting,
    is_in_database,
    json_of,
    new,
    status_everywhere,
    storage_calls,
    title_everywhere,
    uid,
    wait_settled,
)

#: A statement that waits, for `is_any_waiting`.
VACUUM_WAITS = "wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%'"


@contextmanager
def vacuum_stopped(cluster: Cluster, node: Node, name: str) -> Iterator[None]:
    """Make the node's vacuum wait while the block runs: it has to delete an object that this test has locked."""
    folder = new(node, name, type_="Folder")
    child = uid(node, new(node, "locked", parent=folder))
    with database_transaction(cluster) as cursor:
        cursor.execute("SELECT 1 FROM objects WHERE zoid = %s FOR UPDATE", (child,))
        assert node.http.delete(folder).status == 200
        wait_for(partial(is_any_waiting, cluster, VACUUM_WAITS), "the vacuum to wait for a lock")
        yield


def read_record_everywhere(cluster: Cluster, oid: str, wanted: int) -> None:
    """Check the status of the object's own record, which is read without its ancestors."""
    status_everywhere(cluster, record_path(oid), wanted)


@pytest.mark.parametrize("count", [3, MAX_ROWS + 100])
def test_descendants_read_between_commit_and_vacuum(cluster: Cluster, count: int) -> None:
    folder = new(cluster[0], f"doomed-{count}", type_="Folder")
    inner = new(cluster[0], "inner", type_="Folder", parent=folder)
    assert cluster[0].http.post(f"{inner}/@fill/{count}").status == 200
    paths = [inner, f"{inner}/0", f"{inner}/{count - 1}"]
    oids = [uid(cluster[1], path) for path in paths]
    for path in paths[1:]:
        title_everywhere(cluster, path, path.rpartition("/")[2])

    with vacuum_stopped(cluster, cluster[1], f"stops-the-vacuum-{count}"):
        assert cluster[1].http.delete(folder).status == 200
        for path, oid in zip(paths, oids, strict=True):
            status_everywhere(cluster, path, 404)
            status_everywhere(cluster, f"{CONTAINER}/@resolveuid/{oid}", 404)
            read_record_everywhere(cluster, oid, 200)
        forget_storage_calls(cluster)
        for oid in oids:
            read_record_everywhere(cluster, oid, 200)
        assert not [call for call in storage_calls(cluster) if call[0] == "load"], "they should be cached again"

    for path, oid in zip(paths, oids, strict=True):
        wait_for(partial(_is_gone, cluster, oid), f"{path} to be vacuumed")
        read_record_everywhere(cluster, oid, 404)
        status_everywhere(cluster, f"{CONTAINER}/@resolveuid/{oid}", 404)
        status_everywhere(cluster, path, 404)


def _is_gone(cluster: Cluster, oid: str) -> bool:
    return not is_in_database(cluster, oid)


def test_an_annotation_goes_with_its_object(cluster: Cluster) -> None:
    item = new(cluster[0], "with-annotation")
    assert cluster[0].http.post(f"{item}/@annotation/mine", 1).status == 200
    with database_transaction(cluster) as cursor:
        cursor.execute("SELECT zoid FROM objects WHERE of = %s AND id = 'mine'", (uid(cluster[0], item),))
        (oid,) = cursor.fetchone()
    read_record_everywhere(cluster, oid, 200)
    assert cluster[2].http.delete(item).status == 200
    wait_for(partial(_is_gone, cluster, oid), "the annotation to be vacuumed")
    read_record_everywhere(cluster, oid, 404)


def test_a_folder_created_again_is_empty(cluster: Cluster) -> None:
    for i in range(6):
        folder = new(cluster[i % 3], "made-again", type_="Folder")
        everywhere(cluster, lambda node: json_of(node, f"{folder}/@ids"), [])  # noqa: B023
        status_everywhere(cluster, f"{folder}/child", 404)
        new(cluster[(i + 1) % 3], "child", f"of {i}", parent=folder)
        title_everywhere(cluster, f"{folder}/child", f"of {i}")
        assert cluster[(i + 2) % 3].http.delete(folder).status == 200
        status_everywhere(cluster, f"{folder}/child", 404)


def test_children_added_while_their_folder_is_deleted(cluster: Cluster) -> None:
    """No node serves what the cascade has deleted, in whatever order the requests arrived."""
    made: list[str] = []

    def add_until_gone(node: Node, folder: str) -> list[str]:
        uids = []
        for number in range(200):
            answer = node.http.post(folder, {"@type": "Item", "id": f"{node.name}-{number}"})
            if answer.status != 201:
                break
            uids.append(answer.json()["@uid"])
        return uids

    for round_ in range(10):
        folder = new(cluster[0], f"busy-{round_}", type_="Folder")
        oid = uid(cluster[0], folder)
        with ThreadPoolExecutor(2) as threads:
            adding = [threads.submit(add_until_gone, cluster[i], folder) for i in (0, 1)]
            wait_for(lambda: json_of(cluster[2], f"{folder}/@ids"), "a child")  # noqa: B023
            assert cluster[2].http.delete(folder).status == 200
            made += [found for future in adding for found in future.result()]
        wait_for(partial(_is_gone, cluster, oid), f"{folder} to be vacuumed")
    wait_settled(cluster)
    gone = [found for found in made if _is_gone(cluster, found)]
    assert gone, "no child was deleted with its folder"
    served = [found for node in cluster.nodes for found in gone if node.http.get(record_path(found)).status != 404]
    assert not served


def record_path(oid: str) -> str:
    return f"{CONTAINER}/@record/{oid}"
