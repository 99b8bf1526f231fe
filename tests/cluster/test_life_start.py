"""How a process joins the others, over each kind of connection, and what keeps a process from starting."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cluster import SECRET, Cluster
from harness.local import free_port, wait_for
from harness.node import Node
from harness.postgres_server import PostgresServer
from tests.cluster.steps import database_transaction, ends, execute, new, shared, title, title_everywhere

TCP = "is TCP, where anybody can connect, on loopback every user of the host: give secret or tls as well, or unix:/path"


@pytest.fixture(scope="module")
def dsn(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database for the clusters of this module, which follow each other."""
    with postgres.temporary_database() as dsn:
        yield dsn


# --- processes that join


def test_a_peer_that_joins_later(dsn: str, node: Callable[..., Node]) -> None:
    """The others know its address from the start, and do not wait for it."""
    peers = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    sections = [{"listen": listen, "peers": peers, "secret": SECRET} for listen in peers]
    with Cluster(dsn, sections=sections[:2]) as cluster:
        first, second = cluster.nodes
        shared(first, second, "two")
        third = node(**sections[2])
        cluster.nodes.append(third)
        cluster.start(third)
        shared(first, third, "three")
        shared(third, second, "from-three")


def test_unix_sockets(dsn: str, tmp_path: Path) -> None:
    """They also work where a killed process has left its socket."""
    sockets = [tmp_path / f"{i}.sock" for i in range(2)]
    peers = [f"unix:{path}" for path in sockets]
    with Cluster(dsn, sections=[{"listen": listen, "peers": peers} for listen in peers]) as cluster:
        shared(cluster[0], cluster[1], "unix")
        cluster[1].kill()
        assert sockets[1].exists()
        cluster.start(cluster[1])
        shared(cluster[0], cluster[1], "unix-again")
    assert not any(path.exists() for path in sockets)


def test_a_shared_secret_and_a_wrong_one(dsn: str, node: Callable[..., Node]) -> None:
    """A process with another secret is refused, and disturbs none of the others."""
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
    """It is not in logs, statistics, the members table and the command, nor in a failed start's message."""
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
    """It may start, as its own settings name no TCP, but says what is missing, and no node reads wrongly."""
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
        # It does not even dial: another program that listened there would be believed.
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
    """Return the addresses in the members table; none without a table."""
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
    """The secret may be in the environment of the server and not in that of a command."""
    ended = node(listen="127.0.0.1:9000").run_command("run", "--script", "/no/such")
    last = ended.stdout.decode().splitlines()[-1]
    assert last == f"guillotina_groupcache: groupcache.listen: '127.0.0.1:9000' {TCP}" and ended.returncode == 1
