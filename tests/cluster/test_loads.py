"""Loads from the database: once for the whole cluster, many at a time, and none where the value is known."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from urllib.parse import quote

import pytest

from harness.client import CONTAINER
from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import Node
from tests.cluster.steps import (
    at_once,
    database_transaction,
    everywhere,
    forget_storage_calls,
    is_serving,
    json_everywhere,
    new,
    storage_calls,
    title,
    title_everywhere,
    uid,
    wait_settled,
)

READERS_OF_A_NODE = 50
MEBIBYTE_IN_BLOBS = 4096  # a blob is as many times 256 bytes


def clear(cluster: Cluster) -> None:
    """Make everything cold, except for the container and its ancestors, which every request reads."""
    assert cluster[0].http.post(f"{CONTAINER}/@cache-clear").status == 200
    wait_settled(cluster)
    everywhere(cluster, is_serving, True)
    forget_storage_calls(cluster)


def test_many_readers_of_a_cold_object_cause_one_load(cluster: Cluster) -> None:
    item = new(cluster[0], "cold", "read by many")
    container, oid = uid(cluster[0], CONTAINER), uid(cluster[0], item)
    clear(cluster)

    readers = threading.Thread(
        target=lambda: answers.extend(
            at_once([partial(title, node, item) for node in cluster.nodes for _ in range(READERS_OF_A_NODE)])
        )
    )
    answers: list[str] = []
    with database_transaction(cluster) as cursor:
        # No reader gets an answer before all have sent their requests.
        cursor.execute("LOCK TABLE objects IN ACCESS EXCLUSIVE MODE")
        readers.start()
        for node in cluster.nodes:
            wait_for(partial(_has_all_requests, node), f"{node.name} to have the requests of all its readers")
    readers.join()

    assert answers == ["read by many"] * 3 * READERS_OF_A_NODE
    calls = storage_calls(cluster)
    assert calls.count(["get_child", container, "cold"]) == 1
    assert not [call for call in calls if call[0] == "get_children" or call == ["load", oid]]
    assert len(calls) == len({tuple(call) for call in calls}), f"loaded more than once: {calls}"


def _has_all_requests(node: Node) -> bool:
    # This request is one of those under way.
    return bool(node.http.get("/@in-flight").json() == READERS_OF_A_NODE + 1)


def test_a_listing_is_one_query(cluster: Cluster) -> None:
    folder, count = new(cluster[0], "listed", type_="Folder"), 300
    assert cluster[0].http.post(f"{folder}/@fill/{count}").status == 200
    oid = uid(cluster[0], folder)
    wanted = {str(i): str(i) for i in range(count)}
    json_everywhere(cluster, f"{folder}/@titles", wanted)
    clear(cluster)
    before = cluster[1].http.stats()
    assert cluster[1].http.get(f"{folder}/@titles").json() == wanted
    after = cluster[1].http.stats()

    calls = storage_calls(cluster)
    batches = [call[2] for call in calls if call[:2] == ["get_children", oid]]
    assert len(batches) <= len(cluster.nodes), "each owner makes one query"
    assert sorted(id_ for batch in batches for id_ in batch) == sorted(wanted)
    assert not [call for call in calls if call[0] == "get_child" and call[1] == oid]
    # Some frames are the cluster's own; one per child would be 200.
    assert after["network"]["frames_out"] - before["network"]["frames_out"] < 50
    assert after["peer_loads"] - before["peer_loads"] > count // 4, "peers own some of the children"

    forget_storage_calls(cluster)
    json_everywhere(cluster, f"{folder}/@titles", wanted)
    assert not [call for call in storage_calls(cluster) if call[0].startswith("get_child") and call[1] == oid]


def test_what_was_written_is_pushed(cluster: Cluster) -> None:
    container = uid(cluster[0], CONTAINER)
    for i in range(9):
        item = new(cluster[0], f"pushed-{i}", "first")
        oid = uid(cluster[0], item)
        writer, reader = cluster[i % 3], cluster[(i + 1) % 3]
        title_everywhere(cluster, item, "first")
        wait_settled(cluster)
        pushed = writer.http.stats()["pushed"]
        forget_storage_calls(cluster)
        assert writer.http.patch(item, {"title": "second"}).status == 204
        wait_settled(cluster)
        assert writer.http.stats()["pushed"] > pushed
        assert title(reader, item) == "second"
        title_everywhere(cluster, item, "second")
        reads = [call for call in storage_calls(cluster) if call == ["load", oid] or f"pushed-{i}" in call]
        assert reads == [], (container, reads)


def test_a_missing_annotation_is_not_loaded_again(cluster: Cluster) -> None:
    item = new(cluster[0], "without-annotation")
    oid = uid(cluster[0], item)
    with database_transaction(cluster) as cursor:
        cursor.execute("DELETE FROM objects WHERE of = %s", (oid,))
    clear(cluster)
    title_everywhere(cluster, item, "")
    assert [call[1] for call in storage_calls(cluster) if call[0] == "get_annotation"].count(oid) == 1
    assert cluster[1].http.post(f"{item}/@annotation/default", 7).status == 200
    json_everywhere(cluster, f"{item}/@annotations", {"default": 7})


@pytest.mark.parametrize(("mebibytes", "is_cached"), [(1, True), (4.9, True), (5.1, False), (9, False)])
def test_large_and_binary_objects(cluster: Cluster, mebibytes: float, is_cached: bool) -> None:
    id_ = f"blob-{mebibytes}"
    item, size = new(cluster[0], id_), int(mebibytes * MEBIBYTE_IN_BLOBS)
    for wanted in size, size - 1:
        assert cluster[1].http.patch(f"{item}/@blob", {"size": wanted}).status == 200
        digest = hashlib.sha256(bytes(range(256)) * wanted).hexdigest()
        json_everywhere(cluster, f"{item}/@blob", digest)
        wait_settled(cluster)
        json_everywhere(cluster, f"{item}/@blob", digest)
        forget_storage_calls(cluster)
        json_everywhere(cluster, f"{item}/@blob", digest)
        assert (storage_calls(cluster) == []) == is_cached


def test_a_thousand_requests_at_once(cluster: Cluster) -> None:
    folder, count = new(cluster[0], "busy", type_="Folder"), 200
    assert cluster[0].http.post(f"{folder}/@fill/{count}").status == 200
    clear(cluster)
    calls = []
    for i in range(1000):
        calls.append(partial(cluster[1].http.get, _a_path(folder, i, count)))
    answers = at_once(calls)
    for i, answer in enumerate(answers):
        assert answer.status == (404 if i % 5 == 3 else 200), (_a_path(folder, i, count), answer)
    assert cluster[1].http.get("/@in-flight").json() == 1


def _a_path(folder: str, i: int, count: int) -> str:
    """Return a path: of five requests two read objects, one a listing, one a missing object and one the ids."""
    kinds = (f"{i % count}", f"{(7 * i) % count}", "@items?page_size=3", quote(f"not there {i}"), "@ids")
    return f"{folder}/{kinds[i % 5]}"
