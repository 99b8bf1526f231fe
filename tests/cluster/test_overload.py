"""Overload: no process bypasses, no request fails, and none waits for ever."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from harness.client import CONTAINER
from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import database_settings
from harness.postgres_server import PostgresServer
from tests.cluster.steps import database_transaction, is_any_waiting, is_serving, new, title, title_everywhere

CLIENTS = 200
ITEMS = 40
REQUESTS = 3000
#: Requests under way while the database is locked, far more than connections, and the bytes that they may cost.
HELD = 400
HELD_BYTES = 200 * 10**6


@pytest.fixture(scope="module")
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    """Two nodes with two connections each."""
    with postgres.temporary_database() as dsn:
        databases = {"db": database_settings(dsn, pool_size=2)}
        with Cluster(dsn, size=2, overrides={"databases": databases}) as cluster:
            yield cluster


def test_a_process_under_full_load_goes_on_serving(cluster: Cluster) -> None:
    """Overload must not make it bypass, which would be more load."""
    busy = cluster[0]
    folder = new(busy, "load", type_="Folder")
    paths = [new(busy, f"item-{i}", f"Item {i}", parent=folder) for i in range(ITEMS)]
    logs = [node.log() for node in cluster.nodes]
    statuses: Counter[int] = Counter()
    lock = threading.Lock()

    def request(number: int) -> None:
        path = paths[number % ITEMS]
        if number % 50:
            status = busy.http.get(path).status
        else:
            status = busy.http.patch(path, {"description": f"{number}"}).status
        with lock:
            statuses[status] += 1

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(request, range(REQUESTS)))
    # Guillotina answers a write conflict with 409 after its own retries.
    assert set(statuses) <= {200, 204, 409} and statuses[200] > REQUESTS // 2, statuses
    for node, log in zip(cluster.nodes, logs, strict=True):
        assert "bypassing: reads go to the database" not in node.log().removeprefix(log)
        assert is_serving(node)


def test_requests_that_wait_for_the_database_are_bounded_and_answered(cluster: Cluster) -> None:
    node = cluster[0]
    folder = new(node, "held", type_="Folder")
    paths = [new(node, f"item-{i}", f"Item {i}", parent=folder) for i in range(ITEMS)]
    title(cluster[1], paths[0])
    assert node.http.post(f"{CONTAINER}/@cache-clear").status == 200
    process = psutil.Process(node.process.pid if node.process else 0)
    before = process.memory_info().rss
    with ThreadPoolExecutor(HELD) as threads:
        with database_transaction(cluster) as cursor:
            cursor.execute("LOCK TABLE objects IN ACCESS EXCLUSIVE MODE")
            requests = [threads.submit(node.http.get, paths[i % ITEMS]) for i in range(HELD)]
            wait_for(lambda: is_any_waiting(cluster, "wait_event_type = 'Lock'"), "a statement to wait")
            assert process.memory_info().rss - before < HELD_BYTES
        answers = Counter(request.result().status for request in requests)
    assert answers == {200: HELD}
    for i, path in enumerate(paths):
        title_everywhere(cluster, path, f"Item {i}")


def test_a_slow_peer_does_not_slow_the_others(cluster: Cluster) -> None:
    """Only what it owns is read from the database."""
    reader, slow = cluster.nodes
    folder = new(reader, "slow", type_="Folder")
    paths = [new(reader, f"item-{i}", f"Item {i}", parent=folder) for i in range(ITEMS)]
    slow.pause()
    try:
        for i, path in enumerate(paths):
            assert title(reader, path) == f"Item {i}"
        assert is_serving(reader)
    finally:
        slow.resume()
    wait_for(lambda: is_serving(slow), "the slow one to serve again")
    cluster.wait_whole()


def test_no_commit_waits_for_a_killed_process(cluster: Cluster) -> None:
    """On one host its end is seen: no commit waits for its acknowledgement."""
    survivor, victim = cluster.nodes
    path = new(survivor, "survivor", "before")
    log = survivor.log()
    victim.kill()
    for number in range(5):
        assert survivor.http.patch(path, {"title": f"{number}"}).status == 204
        assert title(survivor, path) == f"{number}"
    wait_for(lambda: "it has ended" in survivor.log().removeprefix(log), "its end to be noticed")
    assert "it does not acknowledge" not in survivor.log().removeprefix(log)
    cluster.start(victim)
