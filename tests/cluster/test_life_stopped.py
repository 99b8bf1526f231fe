"""A process that was stopped, as by a debugger, answers rightly from the moment it wakes up (R2, R3)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial

import pytest

from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import APPLICATIONS, Node
from harness.postgres_server import PostgresServer
from tests.cluster.steps import database_transaction, json_of, new, send, uid

#: Objects, of which the process that is stopped owns a part.
OBJECTS = 30
#: Requests that wait for it when it wakes up.
REQUESTS = 10


@pytest.fixture(scope="module")
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    applications = [*APPLICATIONS, "tests.cluster.life_addon"]
    with postgres.temporary_database() as dsn, Cluster(dsn, overrides={"applications": applications}) as cluster:
        yield cluster


def has_lost(node: Node, other: Node) -> bool:
    """Return whether a node has no connection with another one."""
    members = node.http.stats()["members"]
    return not any(row["connected"] for row in members if row["address"] == other.address)


@pytest.mark.parametrize("long", [True, False], ids=["long", "short"])
def test_what_it_has_in_memory_is_not_served(cluster: Cluster, long: bool) -> None:
    """It is read before it can have learned anything: after its lease (R2), or as soon as the writers are done."""
    victim, *others = cluster.nodes
    items = [new(victim, f"{long}-{i}", "before") for i in range(OBJECTS)]
    path = "/@cached/" + ",".join(uid(victim, item) for item in items)
    before = json_of(victim, path)
    assert {title for title, _ in before} == {"before"}
    assert "OWN" in {source for _, source in before}
    victim.pause()
    try:
        # Otherwise it would find, when it wakes up, what was sent before the others closed its connections.
        for node in others if long else ():
            wait_for(partial(has_lost, node, victim), f"{node.name} to lose {victim.name}")
        for i, item in enumerate(items):
            assert others[i % 2].http.patch(item, {"title": "after"}).status == 204
        with database_transaction(cluster) as cursor, ExitStack() as connections:
            # While the members table cannot be read, it cannot learn that it was marked out.
            cursor.execute("LOCK TABLE groupcache_members")
            # The kernel accepts requests, so they are waiting when it wakes up.
            requests = [connections.enter_context(closing(send(victim, path))) for _ in range(REQUESTS)]
            victim.resume()
            for connection in requests:
                assert {title for title, _ in json.loads(connection.getresponse().read())} == {"after"}
    finally:
        victim.resume()
    cluster.wait_whole()
    assert {title for title, _ in json_of(victim, path)} == {"after"}
