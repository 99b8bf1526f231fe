"""Databases that are created while the nodes run: each node learns of them at another moment."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from harness.client import CONTAINER
from harness.cluster import Cluster
from harness.postgres_server import PostgresServer
from tests.cluster.conftest import running_cluster
from tests.cluster.steps import new, status_everywhere, title, title_everywhere


@pytest.fixture(scope="module")
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    """Three nodes that may create databases. Their commands would read every database of the server."""
    storage = {"storage": "postgresql", "type": "postgresql", "dsn": postgres.dsn("")}
    with running_cluster(postgres, storages={"more": storage}) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def late(cluster: Cluster, postgres: PostgresServer) -> Iterator[str]:
    """The path of a container in a database that was created through a node."""
    name = f"late{os.getpid()}"
    assert cluster[0].http.post("/@storages/more", {"name": name}).status == 200
    assert cluster[0].http.post(f"/{name}", {"@type": "Container", "id": "c"}).status == 200
    yield f"/{name}/c"
    postgres.drop_database(name)


def test_a_database_created_at_run_time(cluster: Cluster, late: str) -> None:
    # So far only the first node knows the database; the owners of its keys may not.
    items = [new(cluster[0], f"item-{i}", f"title {i}", parent=late) for i in range(20)]
    for i, item in enumerate(items):
        assert title(cluster[0], item) == f"title {i}"
    for i, item in enumerate(items):
        assert cluster[i % 3].http.patch(item, {"title": f"changed {i}"}).status == 204
        title_everywhere(cluster, item, f"changed {i}")
    assert cluster[1].http.delete(items[0]).status == 200
    status_everywhere(cluster, items[0], 404)


def test_one_path_in_two_databases(cluster: Cluster, late: str) -> None:
    items = [new(cluster[0], "same", f"in {parent}", parent=parent) for parent in (late, CONTAINER)]
    for item in items:
        title_everywhere(cluster, item, f"in {item.rpartition('/')[0]}")
    assert cluster[1].http.delete(items[0]).status == 200
    status_everywhere(cluster, items[0], 404)
    title_everywhere(cluster, items[1], f"in {CONTAINER}")
