"""Two databases on two servers: the second one is dead, loses commits, or another table takes a name (R2, R13)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import psycopg2
import pytest

from guillotina_groupcache.status import report
from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import APPLICATIONS, database_settings
from harness.postgres_embedded import EmbeddedPostgres
from harness.postgres_losses import put_back
from tests.cluster.steps import (
    database_transaction,
    epochs,
    forget_storage_calls,
    json_of,
    new,
    storage_calls,
    times_logged,
    title,
    title_everywhere,
    wait_settled,
)

FAR = "/far/c"
ITEMS = 5


@pytest.fixture(scope="module")
def far() -> Iterator[EmbeddedPostgres]:
    """The second server, which keeps what it has acknowledged."""
    with EmbeddedPostgres() as server:
        server.create_database("far")
        for statement in ("ALTER SYSTEM SET fsync = on", "SELECT pg_reload_conf()"):
            execute(server, statement)
        yield server


@pytest.fixture(scope="module")
def cluster(far: EmbeddedPostgres) -> Iterator[Cluster]:
    with EmbeddedPostgres() as server:
        dsn = server.create_database("near")
        databases = {id_: database_settings(where, id_) for id_, where in (("db", dsn), ("far", far.dsn("far")))}
        applications = [*APPLICATIONS, "tests.cluster.addon"]
        with Cluster(dsn, size=2, overrides={"databases": databases, "applications": applications}) as cluster:
            assert cluster[0].http.post("/far", {"@type": "Container", "id": "c"}).status == 200
            yield cluster


#: Counts the processes that have checked the database since a time.
CHECKS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE query LIKE '%pg_control_system%' AND pid <> pg_backend_pid() AND state = 'idle' AND query_start > '{}'"
)


def execute(server: EmbeddedPostgres, statements: str) -> Any:
    """Execute statements on the second database, and return the value of the last one, if any."""
    with closing(psycopg2.connect(server.dsn("far"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statements)
            return cursor.fetchone()[0] if cursor.description else None


def unreachable(cluster: Cluster) -> list[list[str]]:
    """Return the databases that do not answer, by node."""
    return [node.http.stats()["unreachable_databases"] for node in cluster.nodes]


def is_answered(cluster: Cluster, path: str) -> bool:
    """Guillotina's own pool notices a lost connection only when it is used."""
    return all(node.http.get(path).status == 200 for node in cluster.nodes for _ in range(2))


def is_cached(cluster: Cluster, path: str, wanted: str) -> None:
    """Check that every node answers without a query to any database."""
    for _ in range(2):
        title_everywhere(cluster, path, wanted)
    forget_storage_calls(cluster)
    title_everywhere(cluster, path, wanted)
    assert storage_calls(cluster) == []


def test_a_dead_second_server_costs_the_first_nothing(cluster: Cluster, far: EmbeddedPostgres) -> None:
    near = [new(cluster[0], f"near-{i}", f"near {i}") for i in range(ITEMS)]
    there = new(cluster[0], "there", "far", parent=FAR)
    for i, item in enumerate(near):
        is_cached(cluster, item, f"near {i}")
    is_cached(cluster, there, "far")
    before = epochs(cluster)
    far.stop()
    try:
        wait_for(lambda: unreachable(cluster) == [["far"]] * 2, "its own deadline to run out")
        for i, item in enumerate(near):
            is_cached(cluster, item, f"near {i}")
        for round_ in range(ITEMS):
            for node in cluster.nodes:
                assert node.http.patch(near[0], {"title": f"{node.name} {round_}"}).status == 204
                title_everywhere(cluster, near[0], f"{node.name} {round_}")
        wrong = report(cluster[0].http.stats(cluster=True))["wrong"]
        assert wrong == [f"{cluster[1].address} reads the database far past the cache: it does not answer"]
        assert cluster[0].http.get(there).status >= 400, "the cache answers for a database that does not answer"
        assert cluster[0].http.stats()["events"]["open"] == 0
        assert (
            times_logged(cluster, "bypassing: reads go to the database")
            == times_logged(cluster, "is marked out")
            == [0, 0]
        )
    finally:
        far.start()
    wait_for(lambda: unreachable(cluster) == [[], []], "it to answer again")
    wait_for(partial(is_answered, cluster, there), "the database to be used again")
    is_cached(cluster, there, "far")
    assert cluster[1].http.patch(there, {"title": "after"}).status == 204
    wait_settled(cluster)
    is_cached(cluster, there, "after")
    assert epochs(cluster) == before and len(before) == 1
    assert (
        times_logged(cluster, "the database far does not answer")
        == times_logged(cluster, "the database far answers again")
        == [1, 1]
    )


def test_a_second_server_that_is_put_back_bumps_everything(cluster: Cluster, far: EmbeddedPostgres) -> None:
    item = new(cluster[0], "put-back", "first", parent=FAR)
    title_everywhere(cluster, item, "first")
    before = epochs(cluster)
    with put_back(far):
        wait_for(lambda: unreachable(cluster) == [[], []], "it to answer again")
        wait_for(partial(is_answered, cluster, item), "the database to be used again")
        assert cluster[0].http.patch(item, {"title": "lost"}).status == 204
        wait_settled(cluster)
        is_cached(cluster, item, "lost")
        # More log than a server writes by itself until the next check, which can only see that the log's end went back.
        written = execute(far, "CREATE TABLE written AS SELECT generate_series(1, 100000); SELECT now()::text")
        # The result of a check is used by the next view, and that view has ended when the next check begins.
        for _ in range(3):
            wait_for(lambda since=written: execute(far, CHECKS.format(since)) == 2, "both to check it")
            written = execute(far, "SELECT now()::text")
        assert epochs(cluster) == before
    wait_for(lambda: not epochs(cluster) & before, "a new epoch")
    wait_for(lambda: all(node.says_serving() for node in cluster.nodes), "both to serve")
    wait_for(partial(is_answered, cluster, item), "the database to be used again")
    title_everywhere(cluster, item, "first")
    assert sum(times_logged(cluster, "the database far may have lost commits")) == 1


def test_a_table_that_takes_the_name_bumps_everything(cluster: Cluster) -> None:
    item = new(cluster[0], "swapped", "in the old table")
    is_cached(cluster, item, "in the old table")
    before = epochs(cluster)
    with database_transaction(cluster) as cursor:
        cursor.execute("CREATE TABLE restored (LIKE objects INCLUDING ALL)")
        cursor.execute("INSERT INTO restored SELECT * FROM objects")
        cursor.execute(
            "UPDATE restored SET state = decode(replace(encode(state, 'hex'), %s, %s), 'hex')",
            (b"in the old table".hex(), b"in the new table".hex()),
        )
        cursor.execute("CREATE INDEX ON objects (tid)")
        cursor.execute("ALTER TABLE objects RENAME TO old")
        cursor.execute("ALTER TABLE restored RENAME TO objects")
    wait_for(lambda: not epochs(cluster) & before, "a new epoch")
    wait_for(lambda: all(node.says_serving() for node in cluster.nodes), "both to serve")
    wait_for(lambda: title(cluster[0], item) == "in the new table", "Guillotina to use the new table")
    title_everywhere(cluster, item, "in the new table")
    assert sum(times_logged(cluster, "the database db may have lost commits")) == 1
    assert json_of(cluster[1], item)["title"] == "in the new table"
