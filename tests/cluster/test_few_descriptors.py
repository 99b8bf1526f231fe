"""A flood of connections to a peer port takes no descriptors that the application needs (R17)."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterator

import pytest

from harness.client import CONTAINER
from harness.cluster import Cluster
from harness.postgres_server import PostgresServer
from tests.cluster.few_descriptors import DESCRIPTORS

FLOOD = 2000  # connections, of which half are held open at once


@pytest.fixture(scope="module")
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    applications = ["guillotina", "tests.cluster.few_descriptors", "guillotina_groupcache"]
    with postgres.temporary_database() as dsn, Cluster(dsn, 2, overrides={"applications": applications}) as cluster:
        yield cluster


def test_a_flood_of_idle_connections_leaves_descriptors_to_the_application(cluster: Cluster) -> None:
    node = cluster[0]
    assert node.process is not None and node.address is not None
    host, port = node.address.rsplit(":", 1)
    descriptors = f"/proc/{node.process.pid}/fd"
    held: deque[socket.socket] = deque()
    most = 0
    try:
        for number in range(FLOOD):
            held.append(socket.create_connection((host, int(port)), timeout=20))
            if len(held) > FLOOD // 2:
                held.popleft().close()
            if number % 100 == 0:
                most = max(most, len(os.listdir(descriptors)))
                assert node.http.get(CONTAINER).status == 200
        assert node.http.stats()["network"]["pending_handshakes"] <= DESCRIPTORS // 10
        cluster.wait_whole()
    finally:
        for connection in held:
            connection.close()
    assert most < DESCRIPTORS - 32
    assert "Too many open files" not in node.log() and "Traceback" not in node.log()
    assert "cannot accept" not in node.log()
