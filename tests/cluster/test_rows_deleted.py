"""Somebody deletes the rows of the members table at the moment a process starts: it has never seen who serves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPException

import pytest

from harness.client import Response
from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import Node
from harness.postgres import PostgresServer
from tests.cluster.gate_addon import GATE, reached
from tests.cluster.steps import ask, database_transaction, new, title

#: Requests that wait for the process that was stopped when it goes on.
REQUESTS = 10


@pytest.fixture
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    name = f"groupcache_{os.getpid()}_rows"
    applications = ["guillotina", "guillotina_groupcache", "tests.cluster.gate_addon"]
    try:
        with Cluster(postgres.create_database(name), 1, overrides={"applications": applications}) as cluster:
            yield cluster
    finally:
        postgres.drop_database(name)


def patched(node: Node, path: str) -> Response:
    """The answer to a write, once the node listens."""

    def tried() -> Response | None:
        try:
            return node.http.patch(path, {"title": "after"})
        except (ConnectionError, HTTPException):
            return None

    return wait_for(tried, f"{node.name} to listen")


def is_through_or_waits(node: Node, write: Future[Response]) -> bool:
    """Whether a write was answered, or its commit waits because rows are missing."""
    if write.done():
        return True
    try:
        return "lacks rows" in node.log() and bool(node.http.stats()["events"]["open"])
    except (ConnectionError, HTTPException):
        return False


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM groupcache_members", "DROP TABLE groupcache_members, groupcache_cluster"],
    ids=["rows", "tables"],
)
def test_who_is_not_seen_serves_nothing_old(cluster: Cluster, statement: str) -> None:
    (victim,) = cluster.nodes
    path = new(victim, "item", "before")
    newcomer = cluster.add_node()
    gate = cluster.folder / "gate"
    newcomer.environ[GATE] = str(gate)
    newcomer.start()
    wait_for(reached(gate).exists, "the other process to be about to join")
    assert title(victim, path) == "before"
    victim.pause()
    try:
        with database_transaction(cluster) as cursor:
            cursor.execute(statement)
        gate.touch()
        with ThreadPoolExecutor(1) as thread, ExitStack() as connections:
            write = thread.submit(patched, newcomer, path)
            wait_for(lambda: is_through_or_waits(newcomer, write), "the write")
            allowed = {"after"} if write.done() else {"before", "after"}
            asked = [connections.enter_context(closing(ask(victim, path))) for _ in range(REQUESTS)]
            victim.resume()
            answers = {json.loads(connection.getresponse().read())["title"] for connection in asked}
            assert answers <= allowed
            assert write.result().status == 204
            assert title(victim, path) == "after"
    finally:
        victim.resume()
    cluster.wait_whole()
    assert title(victim, path) == title(newcomer, path) == "after"
