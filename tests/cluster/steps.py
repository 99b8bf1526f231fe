"""Steps that tests of several files share."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, TypeVar

import psycopg2

from harness.client import CONTAINER, REQUEST_TIMEOUT, authorization
from harness.cluster import Cluster
from harness.local import free_port, wait_for
from harness.node import Node

T = TypeVar("T")

#: Objects that `shared` writes and reads.
OBJECTS = 12

_roles = itertools.count(1)


def new(node: Node, id_: str, title: str = "", type_: str = "Item", parent: str = CONTAINER) -> str:
    """Add an object and return its path."""
    answer = node.http.post(parent, {"@type": type_, "id": id_, "title": title})
    assert answer.status == 201, answer
    return f"{parent}/{id_}"


def json_of(node: Node, path: str) -> Any:
    """Return the JSON that a node answers; a status other than 200 fails with the end of the node's log."""
    answer = node.http.get(path)
    assert answer.status == 200, f"{node.name} {path}: {answer}\n{node.log()[-5000:]}"
    return answer.json()


def title(node: Node, path: str) -> str:
    """Return the title that a node answers."""
    found: str = json_of(node, path)["title"]
    return found


def everywhere(cluster: Cluster, read: Callable[[Node], T], wanted: T) -> None:
    """Check that every node gives `wanted`."""
    for node in cluster.nodes:
        found = read(node)
        assert found == wanted, f"{node.name} gives {found!r}, not {wanted!r}"


def status_everywhere(cluster: Cluster, path: str, wanted: int) -> None:
    """Check that every node answers with this status."""
    everywhere(cluster, lambda node: node.http.get(path).status, wanted)


def title_everywhere(cluster: Cluster, path: str, wanted: str) -> None:
    """Check that every node answers with this title."""
    everywhere(cluster, lambda node: title(node, path), wanted)


def shared(writer: Node, reader: Node, id_: str) -> None:
    """Check that a node gets what the other one has loaded from it, and reads what that one writes."""
    paths = [new(writer, f"{id_}-{i}", "before") for i in range(OBJECTS)]
    for path in paths:
        assert title(writer, path) == "before"
        assert title(reader, path) == "before"
    for path in paths:
        assert writer.http.patch(path, {"title": "after"}).status == 204
        assert title(reader, path) == "after"
    assert reader.http.stats()["peer_loads"] > 0


def json_everywhere(cluster: Cluster, path: str, wanted: Any) -> None:
    """Check that every node answers with this JSON."""
    everywhere(cluster, lambda node: json_of(node, path), wanted)


def ends(node: Node) -> str:
    """Return the line by which a node says why it does not start: its last, and no traceback."""
    node.start()
    assert node.process is not None
    assert node.process.wait(60) != 0, node.log()
    assert "Uvicorn running" not in node.log()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", node.port)) != 0
    assert "Traceback" not in node.log(), node.log()
    ours, _, message = node.log().splitlines()[-1].partition(": ")
    assert ours == "guillotina_groupcache", node.log()
    return message


def is_serving(node: Node) -> bool:
    return bool(node.http.stats()["serving"])


def epochs(cluster: Cluster) -> set[str]:
    """Return the epochs by which the nodes serve."""
    return {node.http.stats()["epoch"] for node in cluster.nodes}


def times_logged(cluster: Cluster, text: str) -> list[int]:
    """Return how often a text is in each node's log."""
    return [node.log().count(text) for node in cluster.nodes]


def free_range(size: int) -> int:
    """Return the first of some free ports in a row."""

    def is_free(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    return next(first for _ in itertools.count() if all(map(is_free, range(first := free_port(), first + size))))


def send(node: Node, path: str) -> HTTPConnection:
    """Send a request, and return the connection on which to wait for the response."""
    connection = HTTPConnection("127.0.0.1", node.port, timeout=REQUEST_TIMEOUT)
    connection.request("GET", path, headers={"Authorization": authorization(), "Connection": "close"})
    return connection


def uid(node: Node, path: str) -> str:
    """Return the uid of an object."""
    found: str = json_of(node, path)["@uid"]
    return found


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make each of these calls in a thread of its own, and return their results."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [future.result() for future in [threads.submit(call) for call in calls]]


# --- services of the add-on for the tests


def forget_storage_calls(cluster: Cluster) -> None:
    """Forget the reads from the database so far."""
    for node in cluster.nodes:
        assert node.http.delete("/@storage-calls").status == 200


def storage_calls(cluster: Cluster) -> list[list[Any]]:
    """Return the reads from the database since then, by any node: the storage's method and its arguments."""
    return [call for node in cluster.nodes for call in json_of(node, "/@storage-calls")]


def wait_settled(cluster: Cluster) -> None:
    """Wait until no node knows of an open event: the writer's settlement travels after the response."""
    for node in cluster.nodes:
        wait_for(lambda node=node: node.http.stats()["events"]["open"] == 0, f"{node.name} to be settled")


@contextmanager
def held_at_gate(node: Node, path: str, gate: str) -> Iterator[list[Any]]:
    """Post a request that waits at a gate, run the block, and open the gate; then the list has the response."""
    answers: list[Any] = []
    with ThreadPoolExecutor(1) as thread:
        request = thread.submit(node.http.post, path)
        try:
            wait_for(lambda: request.done() or node.http.get(f"/@gate/{gate}").json() == 1, f"gate {gate}")
            yield answers
        finally:
            node.http.post(f"/@gate/{gate}")
        answers.append(request.result())


# --- the database, without Guillotina and the cache


@contextmanager
def database_transaction(cluster: Cluster) -> Iterator[Any]:
    """Give a cursor in a transaction of the cluster's database, committed at the end."""
    connection = psycopg2.connect(cluster.dsn, connect_timeout=10)
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def member_rows(cluster: Cluster, condition: str = "true") -> int:
    """Return how many rows of the members table meet a condition in SQL."""
    with database_transaction(cluster) as cursor:
        cursor.execute(f"SELECT count(*) FROM groupcache_members WHERE {condition}")
        (count,) = cursor.fetchone()
        return int(count)


@contextmanager
def database_role(cluster: Cluster) -> Iterator[str]:
    """Give a user of the database server that may log in, with its name as password, and has no rights yet."""
    role = f"groupcache_role_{os.getpid()}_{next(_roles)}"
    with database_transaction(cluster) as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
        cursor.execute(f"GRANT {role} TO CURRENT_USER")
    try:
        yield role
    finally:
        with database_transaction(cluster) as cursor:
            cursor.execute(f"DROP OWNED BY {role}")
            cursor.execute(f"DROP ROLE {role}")


def is_any_waiting(cluster: Cluster, condition: str) -> bool:
    """Return whether a statement of the cluster's database waits; the condition is SQL about `pg_stat_activity`."""
    with database_transaction(cluster) as cursor:
        cursor.execute(f"SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND {condition}")
        return cursor.fetchone() is not None


def mark(cluster: Cluster) -> str:
    """Return the mark with which members' statements begin: no trigger notes a statement that has it."""

    def found() -> str:
        with database_transaction(cluster) as cursor:
            cursor.execute("SELECT encode(tgargs, 'escape') FROM pg_trigger WHERE tgname = 'groupcache_update'")
            return str((cursor.fetchone() or ("",))[0])

    return wait_for(found, "the triggers").split("\\000")[1]


def change_title(cluster: Cluster, oid: str, old: str, new_: str, mark: str = "") -> None:
    """Change a title in the database itself; both titles must have as many bytes and occur once."""
    assert len(old.encode()) == len(new_.encode())
    with database_transaction(cluster) as cursor:
        cursor.execute(
            f"{mark}UPDATE objects SET state = decode(replace(encode(state, 'hex'), %s, %s), 'hex') WHERE zoid = %s",
            (old.encode().hex(), new_.encode().hex(), oid),
        )
        assert cursor.rowcount == 1


def is_in_database(cluster: Cluster, oid: str) -> bool:
    """Return whether the objects table has a row with this uid."""
    with database_transaction(cluster) as cursor:
        cursor.execute("SELECT 1 FROM objects WHERE zoid = %s", (oid,))
        return cursor.fetchone() is not None


def execute(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in a transaction, and return its rows."""
    connection = psycopg2.connect(dsn, connect_timeout=10)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
