"""A deleted folder takes its descendants with it: PostgreSQL deletes them, and nobody names them (R11)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from demo.client import CONTAINER
from demo.cluster import Cluster, Node, wait_for
from guillotina_groupcache.commit import MAX_DESCENDANTS
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
)

#: A statement that waits, for `is_any_waiting`.
VACUUM_WAITS = "wait_event_type = 'Lock' AND query LIKE '%DELETE FROM%'"


@contextmanager
def vacuum_stopped(cluster: Cluster, node: Node, name: str) -> Iterator[None]:
    """While the block runs, the node's vacuum waits: it has to delete an object that this test has locked."""
    folder = new(node, name, type_="Folder")
    child = uid(node, new(node, "locked", parent=folder))
    with database_transaction(cluster) as cursor:
        cursor.execute("SELECT 1 FROM objects WHERE zoid = %s FOR UPDATE", (child,))
        assert node.http.delete(folder).status == 200
        wait_for(partial(is_any_waiting, cluster, VACUUM_WAITS), "the vacuum to wait for a lock")
        yield


def read_record_everywhere(cluster: Cluster, oid: str, wanted: int) -> None:
    """Read the object's own record, which does not ask for its ancestors."""
    status_everywhere(cluster, f"{CONTAINER}/@record/{oid}", wanted)


@pytest.mark.parametrize("count", [3, MAX_DESCENDANTS + 100])
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


def test_a_folder_made_again_is_empty(cluster: Cluster) -> None:
    for i in range(6):
        folder = new(cluster[i % 3], "made-again", type_="Folder")
        everywhere(cluster, lambda node: json_of(node, f"{folder}/@ids"), [])  # noqa: B023
        status_everywhere(cluster, f"{folder}/child", 404)
        new(cluster[(i + 1) % 3], "child", f"of {i}", parent=folder)
        title_everywhere(cluster, f"{folder}/child", f"of {i}")
        assert cluster[(i + 2) % 3].http.delete(folder).status == 200
        status_everywhere(cluster, f"{folder}/child", 404)
