"""The rows of the members table are deleted at the moment a process starts, which has never seen the members."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPException

import pytest

from harness.client import Response
from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import APPLICATIONS, Node
from harness.postgres_server import PostgresServer
from tests.cluster.gate_addon import GATE, reached
from tests.cluster.steps import database_transaction, new, send, title

#: Requests that are waiting for the stopped process when it goes on.
REQUESTS = 10


@pytest.fixture
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    applications = [*APPLICATIONS, "tests.cluster.gate_addon"]
    with postgres.temporary_database() as dsn, Cluster(dsn, 1, overrides={"applications": applications}) as cluster:
        yield cluster


def patched(node: Node, path: str) -> Response:
    """Return the response to a write, once the node listens."""

    def tried() -> Response | None:
        try:
            return node.http.patch(path, {"title": "after"})
        except (ConnectionError, HTTPException):
            return None

    return wait_for(tried, f"{node.name} to listen")


def is_through_or_waits(node: Node, write: Future[Response]) -> bool:
    """Return whether a write was answered, or its commit waits because rows are missing."""
    if write.done():
        return True
    try:
        return "rows are missing in the members table" in node.log() and bool(node.http.stats()["events"]["open"])
    except (ConnectionError, HTTPException):
        return False


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM groupcache_members", "DROP TABLE groupcache_members, groupcache_cluster"],
    ids=["rows", "tables"],
)
def test_a_process_without_a_row_serves_nothing_old(cluster: Cluster, statement: str) -> None:
    (victim,) = cluster.nodes
    path = new(victim, "item", "before")
    joiner = cluster.add_node()
    gate = cluster.folder / "gate"
    joiner.environ[GATE] = str(gate)
    joiner.start()
    wait_for(reached(gate).exists, "the other process to be about to join")
    assert title(victim, path) == "before"
    victim.pause()
    try:
        with database_transaction(cluster) as cursor:
            cursor.execute(statement)
        gate.touch()
        with ThreadPoolExecutor(1) as thread, ExitStack() as connections:
            write = thread.submit(patched, joiner, path)
            wait_for(lambda: is_through_or_waits(joiner, write), "the write")
            allowed = {"after"} if write.done() else {"before", "after"}
            asked = [connections.enter_context(closing(send(victim, path))) for _ in range(REQUESTS)]
            victim.resume()
            answers = {json.loads(connection.getresponse().read())["title"] for connection in asked}
            assert answers <= allowed
            assert write.result().status == 204
            assert title(victim, path) == "after"
    finally:
        victim.resume()
    cluster.wait_whole()
    assert title(victim, path) == title(joiner, path) == "after"
