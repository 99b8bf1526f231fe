"""Every node reads an outside write within a lease: by psql, without load, under load, and with one node stopped.

How long that took is printed at the end, and not tested: `make bench BENCH=outside` measures it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness.cluster import Cluster
from harness.local import wait_for
from tests.cluster import outside
from tests.cluster.life_load import Load, under_load
from tests.cluster.outside import LEASE, Change
from tests.cluster.outside_changes import CHANGES, CORE, SOME
from tests.cluster.steps import database_transaction, everywhere, new


@pytest.fixture(scope="module")
def taken(request: pytest.FixtureRequest) -> Iterator[dict[str, list[float]]]:
    """Seconds from the end of a write until the last node has read it, by the load."""
    taken: dict[str, list[float]] = {}
    yield taken
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        for when, seconds in taken.items():
            middle, most = statistics.median(seconds), max(seconds)
            print(f"\noutside writes, {when}: all nodes read them after {middle:.2f} s, at most {most:.2f} s")


@pytest.fixture(scope="module")
def written() -> list[Change]:
    """Changes that every node has read."""
    return []


def made(cluster: Cluster, name: str, when: str) -> Change:
    return CHANGES[name](cluster, new(cluster[0], f"{name}-{when}", type_="Folder"))


@pytest.mark.parametrize("name", CHANGES)
def test_all_read_it(cluster: Cluster, name: str, taken: dict[str, list[float]], written: list[Change]) -> None:
    change = made(cluster, name, "quiet")
    outside.is_hot(cluster, [change])
    change.write(cluster.dsn)
    seconds = outside.seconds_until_read(cluster.nodes, change)
    taken.setdefault("quiet", []).append(seconds)
    written.append(change)


class TestUnderLoad:
    """Members read and write meanwhile, without a stale read or a conflict."""

    @pytest.fixture(scope="class")
    def load(self, cluster: Cluster) -> Iterator[Load]:
        with under_load(cluster.nodes, new(cluster[0], "load", type_="Folder")) as load:
            yield load

    @pytest.mark.parametrize("name", SOME)
    def test_all_read_it(
        self, cluster: Cluster, name: str, load: Load, taken: dict[str, list[float]], written: list[Change]
    ) -> None:
        change = made(cluster, name, "load")
        outside.is_hot(cluster, [change], alone=False)
        change.write(cluster.dsn)
        seconds = outside.seconds_until_read(cluster.nodes, change)
        taken.setdefault("under load", []).append(seconds)
        load.wait_on()
        written.append(change)


def test_nothing_comes_back(cluster: Cluster, written: list[Change]) -> None:
    """When all have applied all notes, and these are deleted, no old value comes back."""
    outside.wait_noted_by_all(cluster)
    assert len(written) >= len(CHANGES) + len(CORE)
    for change in written:
        everywhere(cluster, change.read, change.after)


def test_a_node_that_was_stopped_for_a_lease_reads_it_at_once(cluster: Cluster) -> None:
    """The members table cannot be read meanwhile, so that the node cannot learn that it was marked out."""
    *others, victim = cluster.nodes
    changes = [made(cluster, name, "stopped") for name in CHANGES]
    outside.is_hot(cluster, changes)
    stopped = time.monotonic()
    victim.pause()
    try:
        for change in changes:
            change.write(cluster.dsn)
        for change in changes:
            outside.seconds_until_read(others, change)
        wait_for(lambda: time.monotonic() > stopped + LEASE, "a lease to end")
        with database_transaction(cluster) as cursor, ThreadPoolExecutor(len(changes)) as threads:
            cursor.execute("LOCK TABLE groupcache_members")
            # The kernel accepts requests, so they are waiting when it wakes up.
            answers = [threads.submit(change.read, victim) for change in changes]
            victim.resume()
            for change, answer in zip(changes, answers, strict=True):
                assert answer.result() == change.after
    finally:
        victim.resume()
    cluster.wait_whole()
    for change in changes:
        everywhere(cluster, change.read, change.after)


def test_a_node_that_was_stopped_for_a_moment_reads_it_within_a_view(cluster: Cluster) -> None:
    victim = cluster[1]
    changes = [made(cluster, name, "moment") for name in CHANGES]
    outside.is_hot(cluster, changes)
    victim.pause()
    try:
        for change in changes:
            change.write(cluster.dsn)
    finally:
        victim.resume()
    for change in changes:
        outside.seconds_until_read(cluster.nodes, change)
    cluster.wait_whole()
    outside.wait_noted_by_all(cluster)
    for change in changes:
        everywhere(cluster, change.read, change.after)


def test_a_node_that_joins_meanwhile_reads_it(cluster: Cluster) -> None:
    """Its copy holds what was applied before, and its first view shows the later notes (R5, R14)."""
    changes = [made(cluster, name, "joined") for name in CHANGES]
    outside.is_hot(cluster, changes)
    joiner = cluster.add_node()
    try:
        joiner.start()
        for change in changes:
            change.write(cluster.dsn)
        joiner.wait_ready()
        for change in changes:
            outside.seconds_until_read(cluster.nodes, change)
        outside.wait_noted_by_all(cluster)
        for change in changes:
            everywhere(cluster, change.read, change.after)
    finally:
        joiner.stop()
        cluster.nodes.remove(joiner)
    cluster.wait_whole()
