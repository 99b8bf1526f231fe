"""Outside writes to a second database, whose objects are in a schema of their own: it has its own notes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import database_settings
from harness.postgres_server import PostgresServer
from tests.cluster import outside
from tests.cluster.conftest import running_cluster
from tests.cluster.outside import Change, psql
from tests.cluster.outside_changes import CHANGES, CORE
from tests.cluster.steps import everywhere, new

SCHEMA = "elsewhere"
FAR = "/far/c"


@pytest.fixture(scope="module")
def far(postgres: PostgresServer) -> Iterator[str]:
    """The URL of the second database."""
    with postgres.temporary_database() as dsn:
        yield dsn


@pytest.fixture(scope="module")
def cluster(postgres: PostgresServer, far: str) -> Iterator[Cluster]:
    settings = database_settings(far, "far", db_schema=SCHEMA)
    with running_cluster(postgres, more_databases={"far": settings}) as cluster:
        assert cluster[0].http.post("/far", {"@type": "Container", "id": "c"}).status == 200
        yield cluster


def made(cluster: Cluster, far: str, name: str, when: str) -> Change:
    """Return a change of the second database. Its statements name no schema."""
    change = CHANGES[name](cluster, new(cluster[0], f"{name}-{when}", type_="Folder", parent=FAR))
    wanted = f"{far}?options=-csearch_path%3D{SCHEMA},public"
    return Change(lambda _: change.write(wanted), change.read, change.before, change.after)


#: `cascade` reads records by their uid, which it does in the first database.
NAMES = [name for name in CHANGES if name != "cascade"]


@pytest.mark.parametrize("name", CORE)
def test_all_read_it(cluster: Cluster, far: str, name: str) -> None:
    change = made(cluster, far, name, "quiet")
    outside.is_hot(cluster, [change])
    change.write("")
    outside.seconds_until_read(cluster.nodes, change)


def test_with_one_process_stopped(cluster: Cluster, far: str) -> None:
    changes = [made(cluster, far, name, "stopped") for name in NAMES]
    here = CHANGES["state_alone"](cluster, new(cluster[0], "here", type_="Folder"))
    outside.is_hot(cluster, [*changes, here])
    victim = cluster[2]
    victim.pause()
    try:
        for change in (*changes, here):
            change.write(cluster.dsn)
        for change in (*changes, here):
            outside.seconds_until_read(cluster.nodes[:2], change)
    finally:
        victim.resume()
    for change in (*changes, here):
        outside.seconds_until_read(cluster.nodes, change)
    cluster.wait_whole()
    left = f"SELECT count(*) FROM {SCHEMA}.groupcache_outside_writes"
    wait_for(lambda: psql(far, left).strip() == "0", "the notes of the second database to be deleted")
    for change in (*changes, here):
        everywhere(cluster, change.read, change.after)
