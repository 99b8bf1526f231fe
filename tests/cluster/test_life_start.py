"""How a process comes to the others, over whatever connection, and what keeps one from starting."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cluster import SECRET, Cluster
from harness.local import free_port, wait_for
from harness.node import Node
from harness.postgres import PostgresServer
from tests.cluster.steps import database_transaction, ends, execute, new, title, title_everywhere

OBJECTS = 12
TCP = "is TCP, where anybody can connect, on loopback every user of the host: give secret or tls as well, or unix:/path"


@pytest.fixture(scope="module")
def dsn(postgres: PostgresServer) -> Iterator[str]:
    """A database for the clusters of this module, which follow each other."""
    name = f"groupcache_{os.getpid()}_start"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def node(dsn: str, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes that are not started, with a `groupcache` section and overrides; they end with the test."""
    nodes: list[Node] = []

    def make(dsn: str = dsn, overrides: dict[str, Any] | None = None, **section: Any) -> Node:
        nodes.append(Node(f"node{len(nodes)}", dsn, tmp_path, section or None, overrides))
        return nodes[-1]

    yield make
    for one in nodes:
        one.kill()


def shared(writer: Node, reader: Node, id_: str) -> None:
    """What one has loaded, the other gets from it, and what one writes, the other reads."""
    paths = [new(writer, f"{id_}-{i}", "before") for i in range(OBJECTS)]
    for path in paths:
        assert title(writer, path) == "before"
        assert title(reader, path) == "before"
    for path in paths:
        assert writer.http.patch(path, {"title": "after"}).status == 204
        assert title(reader, path) == "after"
    assert reader.http.stats()["peer_loads"] > 0


# --- processes that come


def test_a_peer_that_comes_later(dsn: str, node: Callable[..., Node]) -> None:
    """The others know its address from the start, and do not wait for it."""
    peers = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    sections = [{"listen": listen, "peers": peers, "secret": SECRET} for listen in peers]
    with Cluster(dsn, sections=sections[:2]) as cluster:
        first, second = cluster.nodes
        shared(first, second, "two")
        third = node(**sections[2])
        third.start()
        third.wait_ready()
        cluster.nodes.append(third)
        cluster.wait_whole()
        shared(first, third, "three")
        shared(third, second, "from-three")


def test_unix_sockets(dsn: str, tmp_path: Path) -> None:
    """Also where a process that was killed has left its socket."""
    sockets = [tmp_path / f"{i}.sock" for i in range(2)]
    peers = [f"unix:{path}" for path in sockets]
    with Cluster(dsn, sections=[{"listen": listen, "peers": peers} for listen in peers]) as cluster:
        shared(cluster[0], cluster[1], "unix")
        cluster[1].kill()
        assert sockets[1].exists()
        cluster[1].start()
        cluster[1].wait_ready()
        cluster.wait_whole()
        shared(cluster[0], cluster[1], "unix-again")
    assert not any(path.exists() for path in sockets)


def test_a_shared_secret_and_a_wrong_one(dsn: str, node: Callable[..., Node]) -> None:
    """Who has another secret is refused, and disturbs nobody."""
    with Cluster(dsn, 2) as cluster:
        shared(cluster[0], cluster[1], "secret")
        item = new(cluster[0], "wrong-secret", "0")
        listen = f"127.0.0.1:{free_port()}"
        wrong = node(listen=listen, secret=f"not {SECRET}")
        wrong.start()
        wrong.wait_ready(serving=False)
        wait_for(lambda: "TLS handshake" in wrong.log() and "TLS handshake" in cluster[0].log(), "a refusal")
        for i in range(1, 4):
            assert cluster[i % 2].http.patch(item, {"title": str(i)}).status == 204
            title_everywhere(cluster, item, str(i))
            assert title(wrong, item) == str(i)
        assert not wrong.says_serving()
        for one in cluster.nodes:
            assert one.says_serving(), one.log()
        assert SECRET not in wrong.log() + cluster[0].log()


def test_the_secret_shows_nowhere(dsn: str, node: Callable[..., Node]) -> None:
    """Not in logs, statistics, the members table and the command, nor in what a process says that cannot start."""
    with Cluster(dsn, 2) as cluster:
        shared(cluster[0], cluster[1], "hushed")
        late = node(listen=cluster[0].address, secret=SECRET)
        late.start()
        wait_for(lambda: not late.is_running(), "a second process at one address to end")
        assert "the address is in use" in late.log()
        with database_transaction(cluster) as cursor:
            cursor.execute("SELECT * FROM groupcache_members")
            rows = repr(cursor.fetchall())
        status = cluster[0].run_command("groupcache-status", "--json").stdout.decode()
        logs = [one.log() for one in (*cluster.nodes, late)]
        shown = [*logs, rows, status, repr(cluster[0].http.stats(cluster=True))]
        assert cluster[1].address in rows and cluster[1].address in status
        assert not [text for text in shown if SECRET in text or SECRET.encode().hex() in text]


def test_a_client_without_the_secret(dsn: str, node: Callable[..., Node]) -> None:
    """It may start, as its own settings name no TCP, but says what is missing, and nobody reads wrongly."""
    with Cluster(dsn, 1) as cluster:
        item = new(cluster[0], "no-secret", "0")
        plain = node(listen="none")
        plain.start()
        plain.wait_ready(serving=False)
        wait_for(lambda: "cannot be reached" in plain.log(), "a warning")
        (line,) = [line for line in plain.log().splitlines() if "cannot be reached" in line]
        assert str(cluster[0].address) in line and line.endswith("and the same `secret`")
        for number, writer in enumerate((cluster[0], plain), start=1):
            assert writer.http.patch(item, {"title": str(number)}).status == 204
            assert title(plain, item) == title(cluster[0], item) == str(number)
        assert not plain.says_serving()
        # Nobody else may come to listen there, and be believed: it does not even dial.
        assert cluster[0].http.stats()["network"]["faults"] == {}


# --- processes that do not start


def test_more_memory_than_there_is(node: Callable[..., Node]) -> None:
    message = ends(node(size="1000GiB"))
    assert message.startswith("groupcache.size: 1073742 MB is more than ") and message.endswith(": give less")


def test_a_port_in_use(node: Callable[..., Node], dsn: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        message = ends(node(listen=address, secret=SECRET))
        assert address in message and "in use" in message
    assert address not in members(dsn)


def members(dsn: str) -> set[str]:
    """The addresses in the members table; none without a table."""
    if execute(dsn, "SELECT to_regclass('groupcache_members')") == [(None,)]:
        return set()
    return {address for (address,) in execute(dsn, "SELECT address FROM groupcache_members")}


def test_a_library_that_does_not_load(node: Callable[..., Node]) -> None:
    applications = ["guillotina", "guillotina_groupcache", "tests.cluster.life_broken_library"]
    message = ends(node(overrides={"applications": applications}))
    assert message.startswith("cannot load life_broken_library.py: ")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"size": "many"}, "groupcache.size: 'many' is not a size"),
        ({"peer": []}, "groupcache: 'peer' is not a known key (did you mean peers?)"),
        ({"listen": "127.0.0.1:9000"}, f"groupcache.listen: '127.0.0.1:9000' {TCP}"),
        ({"listen": "10.0.0.1:9000-9003"}, f"groupcache.listen: '10.0.0.1:9000-9003' {TCP}"),
        ({"peers": ["unix:/g", "localhost:9000"]}, f"groupcache.peers: 'localhost:9000' {TCP}"),
        ({"listen": "127.0.0.1:9000", "peers": []}, "groupcache.listen: '127.0.0.1:9000' is given beside empty peers"),
    ],
    ids=repr,
)
def test_a_configuration_that_cannot_be_used(node: Callable[..., Node], section: dict[str, Any], message: str) -> None:
    assert ends(node(**section)).startswith(message)


def test_a_command_without_the_secret(node: Callable[..., Node]) -> None:
    """Where the secret is in the environment of the server and not in that of whoever calls a command."""
    ended = node(listen="127.0.0.1:9000").run_command("run", "--script", "/no/such")
    last = ended.stdout.decode().splitlines()[-1]
    assert last == f"guillotina_groupcache: groupcache.listen: '127.0.0.1:9000' {TCP}" and ended.returncode == 1
