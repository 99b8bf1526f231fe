"""The database does not answer, restarts, loses commits, or its members table is tampered with.

Processes bypass meanwhile, never answer wrongly, and serve again by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import psycopg2
import pytest

from harness.cluster import Cluster
from harness.local import wait_for
from harness.postgres_embedded import EmbeddedPostgres
from tests.cluster.steps import (
    database_transaction,
    epochs,
    is_serving,
    member_rows,
    new,
    times_logged,
    title,
    title_everywhere,
)

ITEMS = 5
BYPASSING = "bypassing: reads go to the database"
# With its end: the log line that a process bypasses gives a reason that begins like this before it asks to join.
ROW_IS_GONE = "its row in the members table is gone: it joins again"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that keeps what it has acknowledged: that of the other tests has fsync off."""
    with EmbeddedPostgres() as server:
        configure(server, fsync="on")
        yield server


@pytest.fixture(scope="module")
def cluster(server: EmbeddedPostgres) -> Iterator[Cluster]:
    with Cluster(server.create_database("ill"), size=2) as cluster:
        yield cluster


def configure(server: EmbeddedPostgres, **settings: str) -> None:
    connection = psycopg2.connect(server.dsn())
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name, value in settings.items():
            cursor.execute(f"ALTER SYSTEM SET {name} = {value}")
        cursor.execute("SELECT pg_reload_conf()")
    connection.close()


def warm(cluster: Cluster, folder: str) -> list[str]:
    """Create items and read them twice at every node."""
    paths = [new(cluster[0], f"item-{i}", f"Item {i}", parent=folder) for i in range(ITEMS)]
    for _ in range(2):
        for i, path in enumerate(paths):
            title_everywhere(cluster, path, f"Item {i}")
    return paths


def all_serve(cluster: Cluster) -> None:
    for node in cluster.nodes:
        wait_for(lambda node=node: is_serving(node), f"{node.name} to serve")
    cluster.wait_whole()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_keeps_the_caches(
    cluster: Cluster, server: EmbeddedPostgres, mode: Literal["fast", "immediate"]
) -> None:
    paths = warm(cluster, new(cluster[0], f"restart-{mode}", type_="Folder"))
    before = epochs(cluster)
    server.stop(mode)
    server.start()
    wait_for(partial(answers_all, cluster, paths), "the database to be used again")
    all_serve(cluster)
    assert epochs(cluster) == before and len(before) == 1
    loads = [node.http.stats()["local_loads"] for node in cluster.nodes]
    for i, path in enumerate(paths):
        title_everywhere(cluster, path, f"Item {i}")
    assert [node.http.stats()["local_loads"] for node in cluster.nodes] == loads, "warm items were loaded again"


def answers_all(cluster: Cluster, paths: list[str]) -> bool:
    """Guillotina's own pool notices a lost connection only when it is used."""
    return all(node.http.get(path).status == 200 for node in cluster.nodes for path in paths * 2)


def test_a_database_that_is_away_is_bypassed_and_used_again(cluster: Cluster, server: EmbeddedPostgres) -> None:
    paths = warm(cluster, new(cluster[0], "away", type_="Folder"))
    noted = times_logged(cluster, BYPASSING)
    server.stop()
    try:
        for node in cluster.nodes:
            wait_for(lambda node=node: not node.says_serving(), f"{node.name} to bypass")
            assert "its last view of the members table is" in node.log()
            assert node.http.get(paths[0]).status >= 400, "the cache answers for a database that does not answer"
    finally:
        server.start()
    all_serve(cluster)
    wait_for(partial(answers_all, cluster, paths), "the database to be used again")
    assert times_logged(cluster, BYPASSING) == [n + 1 for n in noted], "logged more than once"
    assert cluster[0].http.patch(paths[0], {"title": "after"}).status == 204
    title_everywhere(cluster, paths[0], "after")


def test_a_restart_that_may_have_lost_commits_bumps_everything(cluster: Cluster, server: EmbeddedPostgres) -> None:
    """R13."""
    configure(server, synchronous_commit="off")
    try:
        paths = warm(cluster, new(cluster[0], "lost", type_="Folder"))
        wait_for(lambda: times_logged(cluster, "may have lost commits") != [0, 0], "the settings to be seen")
        all_serve(cluster)
        before = epochs(cluster)
        with database_transaction(cluster) as cursor:
            cursor.execute("SELECT pg_switch_wal()")  # what was written so far is on the disk
        server.stop("immediate")
        server.start()
        wait_for(lambda: not epochs(cluster) & before, "a new epoch")
        all_serve(cluster)
        assert len(epochs(cluster)) == 1
        wait_for(partial(answers_all, cluster, paths), "the database to be used again")
    finally:
        before = epochs(cluster)
        configure(server, synchronous_commit="on")
    # Otherwise the next test would meet processes that leave: one may still serve when the other one is in again.
    wait_for(lambda: not epochs(cluster) & before, "a new epoch everywhere")
    all_serve(cluster)


@contextmanager
def written_meanwhile(cluster: Cluster, path: str) -> Iterator[None]:
    """Check that every node reads what is written before the block and after it."""
    for when in ("before", "after"):
        assert cluster[0].http.patch(path, {"title": when}).status == 204
        title_everywhere(cluster, path, when)
        if when == "before":
            yield


def test_a_row_that_is_deleted_is_written_again(cluster: Cluster) -> None:
    path = new(cluster[0], "deleted-row", "first")
    noted = times_logged(cluster, ROW_IS_GONE)
    with written_meanwhile(cluster, path):
        with database_transaction(cluster) as cursor:
            cursor.execute("DELETE FROM groupcache_members")
            assert cursor.rowcount == 2
        wait_for(
            lambda: times_logged(cluster, ROW_IS_GONE) == [n + 1 for n in noted],
            "both to notice, once",
        )
        all_serve(cluster)


def test_tables_that_are_dropped_are_made_again(cluster: Cluster) -> None:
    path = new(cluster[0], "dropped", "first")
    with written_meanwhile(cluster, path):
        with database_transaction(cluster) as cursor:
            cursor.execute("DROP TABLE groupcache_members, groupcache_cluster")
        title_everywhere(cluster, path, "before")
        wait_for(lambda: any(times_logged(cluster, "groupcache: the members table is gone")), "a node to notice")
        title_everywhere(cluster, path, "before")
        wait_for(lambda: rows_that_are_in(cluster) == 2, "both to be in again")
        all_serve(cluster)


def rows_that_are_in(cluster: Cluster) -> int:
    """Return the number of rows with the state `in`; 0 without a table."""
    with database_transaction(cluster) as cursor:
        cursor.execute("SELECT to_regclass('groupcache_members') IS NOT NULL")
        if cursor.fetchone() == (False,):
            return 0
    return member_rows(cluster, "state = 'in'")


def test_a_table_that_is_locked_is_waited_for(cluster: Cluster) -> None:
    path = new(cluster[0], "locked", "first")
    with written_meanwhile(cluster, path):
        with database_transaction(cluster) as cursor:
            cursor.execute("LOCK TABLE groupcache_members IN ACCESS EXCLUSIVE MODE")
            for node in cluster.nodes:
                wait_for(lambda node=node: not is_serving(node), f"{node.name} to bypass")
            title_everywhere(cluster, path, "before")
        all_serve(cluster)


def test_rows_that_have_been_out_for_a_minute_are_removed(cluster: Cluster) -> None:
    with database_transaction(cluster) as cursor:
        for incarnation, out, seen in ((7, 61, 61), (8, 30, 30), (9, 61, 0)):
            cursor.execute(
                "INSERT INTO groupcache_members (incarnation, address, host, state, changed, seen)"
                " VALUES (%s, '', '', 'out', now() - make_interval(secs => %s), now() - make_interval(secs => %s))",
                (incarnation, out, seen),
            )

    def left() -> set[int]:
        with database_transaction(cluster) as cursor:
            cursor.execute("SELECT incarnation FROM groupcache_members WHERE incarnation IN (7, 8, 9)")
            return {incarnation for (incarnation,) in cursor.fetchall()}

    wait_for(lambda: left() == {8, 9}, "the row that is out and overdue to be removed")
    title(cluster[0], new(cluster[0], "afterwards"))
