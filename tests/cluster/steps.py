"""Steps that the tests of several files take."""

from __future__ import annotations

import itertools
import os
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, TypeVar

import psycopg2

from harness.client import CONTAINER, PASSWORD, REQUEST_TIMEOUT, USER
from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import Node

T = TypeVar("T")

_roles = itertools.count(1)


def new(node: Node, id_: str, title: str = "", type_: str = "Item", parent: str = CONTAINER) -> str:
    """Add an object and give its path."""
    answer = node.http.post(parent, {"@type": type_, "id": id_, "title": title})
    assert answer.status == 201, answer
    return f"{parent}/{id_}"


def json_of(node: Node, path: str) -> Any:
    """The JSON that a node answers; anything but 200 is a failure, told with the end of the node's log."""
    answer = node.http.get(path)
    assert answer.status == 200, f"{node.name} {path}: {answer}\n{node.log()[-5000:]}"
    return answer.json()


def title(node: Node, path: str) -> str:
    """The title that a node answers."""
    found: str = json_of(node, path)["title"]
    return found


def everywhere(cluster: Cluster, read: Callable[[Node], T], wanted: T) -> None:
    """Every node must give the same."""
    for node in cluster.nodes:
        found = read(node)
        assert found == wanted, f"{node.name} gives {found!r}, not {wanted!r}"


def status_everywhere(cluster: Cluster, path: str, wanted: int) -> None:
    """Every node must answer with this status."""
    everywhere(cluster, lambda node: node.http.get(path).status, wanted)


def title_everywhere(cluster: Cluster, path: str, wanted: str) -> None:
    """Every node must answer with this title."""
    everywhere(cluster, lambda node: title(node, path), wanted)


def json_everywhere(cluster: Cluster, path: str, wanted: Any) -> None:
    """Every node must answer with this JSON."""
    everywhere(cluster, lambda node: json_of(node, path), wanted)


def ends(node: Node) -> str:
    """The line with which a node tells why it does not start: its last, and no traceback."""
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


def ask(node: Node, path: str) -> HTTPConnection:
    """A connection over which a request was sent."""
    connection = HTTPConnection("127.0.0.1", node.port, timeout=REQUEST_TIMEOUT)
    credentials = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    connection.request("GET", path, headers={"Authorization": f"Basic {credentials}", "Connection": "close"})
    return connection


def uid(node: Node, path: str) -> str:
    """The uid of an object."""
    found: str = json_of(node, path)["@uid"]
    return found


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What all these calls give, each made in a thread of its own."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [future.result() for future in [threads.submit(call) for call in calls]]


# --- what the add-on for the tests shows


def forget_storage_calls(cluster: Cluster) -> None:
    """Begin to count what is read from the database anew."""
    for node in cluster.nodes:
        assert node.http.delete("/@storage-calls").status == 200


def storage_calls(cluster: Cluster) -> list[list[Any]]:
    """What was read from the database since, by any node: the storage's method and its arguments."""
    return [call for node in cluster.nodes for call in json_of(node, "/@storage-calls")]


def wait_settled(cluster: Cluster) -> None:
    """Wait until no node knows of an event that is not settled: the writer's word travels after its answer."""
    for node in cluster.nodes:
        wait_for(lambda node=node: node.http.stats()["events"]["open"] == 0, f"{node.name} to be settled")


@contextmanager
def held_at_gate(node: Node, path: str, gate: str) -> Iterator[list[Any]]:
    """Post a request that waits at a gate, run the block meanwhile, and let it go on; its answer is in the list."""
    answers: list[Any] = []
    with ThreadPoolExecutor(1) as thread:
        request = thread.submit(node.http.post, path)
        try:
            wait_for(lambda: request.done() or node.http.get(f"/@gate/{gate}").json() == 1, f"gate {gate}")
            yield answers
        finally:
            node.http.post(f"/@gate/{gate}")
        answers.append(request.result())


# --- the database, past Guillotina and the cache


@contextmanager
def database_transaction(cluster: Cluster) -> Iterator[Any]:
    """A cursor in a transaction of the cluster's database, committed at the end."""
    connection = psycopg2.connect(cluster.dsn, connect_timeout=10)
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


@contextmanager
def database_role(cluster: Cluster) -> Iterator[str]:
    """A user of the database server who may log in, with its name as password, and has no rights yet."""
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
    """Whether a statement of the cluster's database waits; the condition, in SQL, is about its `pg_stat_activity`."""
    with database_transaction(cluster) as cursor:
        cursor.execute(f"SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND {condition}")
        return cursor.fetchone() is not None


def mark(cluster: Cluster) -> str:
    """What the statements begin with that members announce: no trigger notes one that somebody else sends."""

    def found() -> str:
        with database_transaction(cluster) as cursor:
            cursor.execute("SELECT encode(tgargs, 'escape') FROM pg_trigger WHERE tgname = 'groupcache_update'")
            return str((cursor.fetchone() or ("",))[0])

    return wait_for(found, "the triggers").split("\\000")[1]


def change_title(cluster: Cluster, oid: str, old: str, new_: str, mark: str = "") -> None:
    """Change a title in the database behind everyone's back; both must have as many bytes and occur once."""
    assert len(old.encode()) == len(new_.encode())
    with database_transaction(cluster) as cursor:
        cursor.execute(
            f"{mark}UPDATE objects SET state = decode(replace(encode(state, 'hex'), %s, %s), 'hex') WHERE zoid = %s",
            (old.encode().hex(), new_.encode().hex(), oid),
        )
        assert cursor.rowcount == 1


def is_in_database(cluster: Cluster, oid: str) -> bool:
    """Whether the objects table has a row with this uid."""
    with database_transaction(cluster) as cursor:
        cursor.execute("SELECT 1 FROM objects WHERE zoid = %s", (oid,))
        return cursor.fetchone() is not None


def execute(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in a transaction; the rows that it gives."""
    connection = psycopg2.connect(dsn, connect_timeout=10)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
