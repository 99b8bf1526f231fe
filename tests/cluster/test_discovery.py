"""How processes find each other: told nothing, a range of ports, a host's addresses, a list, a name."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.client import CONTAINER, HttpClient
from harness.cluster import SECRET, Cluster
from harness.local import ROOT, free_port, wait_for
from harness.node import Node
from harness.postgres import PostgresServer
from tests.cluster.steps import new, title, title_everywhere
from tests.cluster.test_life_start import ends, shared

SCRIPT = """
async def run(container):
    changed = await container.async_get("by-command")
    changed.title = "written by a command"
    changed.register()
"""

_numbers = itertools.count(1)


@pytest.fixture
def dsn(postgres: PostgresServer) -> Iterator[str]:
    """A database for the cluster of one test."""
    name = f"groupcache_{os.getpid()}_discovery_{next(_numbers)}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def session(tmp_path: Path) -> dict[str, str]:
    """The environment of a user's session with a folder of its own for sockets."""
    tmp_path.chmod(0o700)
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.fixture
def node(dsn: str, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes that are not started, with a `groupcache` section; they end with the test."""
    nodes: list[Node] = []

    def make(environ: dict[str, str] | None = None, **section: Any) -> Node:
        nodes.append(Node(f"node{len(nodes)}", dsn, tmp_path, section or None, environ=environ))
        return nodes[-1]

    yield make
    for one in nodes:
        one.kill()


# --- nothing configured


def test_nothing_configured(dsn: str, session: dict[str, str]) -> None:
    """The processes of one user find each other, also after they were killed, and their addresses stay the same."""
    folder = Path(session["XDG_RUNTIME_DIR"], "guillotina_groupcache")
    sockets = [folder / f"{number}.sock" for number in range(3)]
    with Cluster(dsn, environ=session, sections=[None] * 3) as cluster:
        assert {node.address for node in cluster.nodes} == {f"unix:{path}" for path in sockets}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert all(stat.S_ISSOCK(path.stat().st_mode) for path in sockets)
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in sockets)
        shared(cluster[0], cluster[1], "one")
        shared(cluster[1], cluster[2], "two")
        # Who looked for a free socket has disturbed nobody.
        assert all(node.http.stats()["network"]["faults"] == {} for node in cluster.nodes)

        for restarted in ([cluster[1]], [cluster[0], cluster[2]]):
            before = {node.address for node in restarted}
            for node in restarted:
                node.kill()
            assert all(path.exists() for path in sockets)
            for node in restarted:
                node.start()
            for node in restarted:
                node.wait_ready()
            cluster.wait_whole()
            assert {node.address for node in restarted} == before
        shared(cluster[2], cluster[0], "three")
    assert list(folder.iterdir()) == []


def test_a_command_with_nothing_configured(dsn: str, session: dict[str, str]) -> None:
    """It is a client: it takes no socket, and the others learn of what it writes."""
    with Cluster(dsn, environ=session, sections=[None] * 2) as cluster:
        item = new(cluster[0], "by-command", "before")
        title_everywhere(cluster, item, "before")
        script = cluster.folder / "write.py"
        script.write_text(SCRIPT)
        ended = cluster[1].run_command("run", "--script", str(script))
        log = ended.stdout.decode()
        assert ended.returncode == 0, log
        assert re.search("groupcache: a client$", log, re.MULTILINE), log
        title_everywhere(cluster, item, "written by a command")
        assert all(node.says_serving() for node in cluster.nodes)


def test_a_folder_that_is_not_safe(dsn: str, session: dict[str, str]) -> None:
    """In a folder that others can enter they could take a process' place: the site starts with another one."""
    folder = Path(session["XDG_RUNTIME_DIR"], "guillotina_groupcache")
    folder.mkdir(mode=0o700)
    folder.chmod(0o755)
    with Cluster(dsn, environ=session, sections=[None] * 2) as cluster:
        shared(cluster[0], cluster[1], "beside")
        for found in {Path(str(node.address).removeprefix("unix:")).parent for node in cluster.nodes}:
            assert found.parent == folder.parent and stat.S_IMODE(found.stat().st_mode) == 0o700
        assert all(f"{folder} is not a directory of this user" in node.log() for node in cluster.nodes)
    assert list(folder.iterdir()) == []


@contextmanager
def served(dsn: str, folder: Path, environ: dict[str, str], *server: str, **section: Any) -> Iterator[HttpClient]:
    """A server of several workers with one configuration file, over a database that is set up. It is ended in order."""
    with Cluster(dsn, environ=environ, sections=[section or None]) as cluster:
        config = folder / "config.yaml"
        config.write_text(cluster[0].config_file.read_text())
    port = free_port()
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.replace("PORT", str(port)) for part in server), "guillotina.entrypoint:app"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "G_CONFIG_FILE": str(config), **environ},
        )
    try:
        yield HttpClient(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM), log.read_text()
    except BaseException:
        print(log.read_text())
        raise
    finally:
        process.kill()
        process.wait()


def workers(client: HttpClient, count: int) -> dict[str, Any]:
    """The statistics of each worker by its address, once this many are in standing and connected with each other."""
    found: dict[str, Any] = {}

    def all_there() -> bool:
        try:
            stats = client.stats()
        except OSError:
            return False
        together = [row for row in stats["members"] or () if row["state"] == "in" and row["connected"]]
        if stats["serving"] and len(together) == count - 1:
            found[stats["address"]] = stats
        return len(found) == count

    wait_for(all_there, f"{count} workers to be a cluster")
    return found


def reads_what_was_written(client: HttpClient, times: int = 20) -> None:
    """Whichever worker answers, it gives what the last write said, whichever worker made that."""
    assert client.post(CONTAINER, {"@type": "Item", "id": "item", "title": "0"}).status == 201
    for number in range(1, times):
        assert client.patch(f"{CONTAINER}/item", {"title": str(number)}).status == 204
        for _ in range(4):
            assert client.get(f"{CONTAINER}/item").json()["title"] == str(number)


def test_gunicorn_with_nothing_configured(dsn: str, tmp_path: Path, session: dict[str, str]) -> None:
    """One file, four workers: the whole of what a site with one host needs."""
    with served(dsn, tmp_path, session, "gunicorn", "-w", "4", "-k", "asgi", "-b", "127.0.0.1:PORT") as client:
        found = workers(client, 4)
        folder = Path(session["XDG_RUNTIME_DIR"], "guillotina_groupcache")
        assert set(found) == {f"unix:{folder}/{number}.sock" for number in range(4)}
        reads_what_was_written(client)


# --- a range of ports, all addresses of a host


def free_range(size: int) -> int:
    """The first of some free ports in a row."""

    def is_free(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    return next(first for _ in itertools.count() if all(map(is_free, range(first := free_port(), first + size))))


def test_workers_of_one_file_share_a_range_of_ports(dsn: str, tmp_path: Path) -> None:
    first = free_range(4)
    section = {"listen": f"127.0.0.1:{first}-{first + 3}", "secret": SECRET}
    with served(dsn, tmp_path, {}, "uvicorn", "--workers", "3", "--port", "PORT", **section) as client:
        assert set(workers(client, 3)) == {f"127.0.0.1:{first + number}" for number in range(3)}
        reads_what_was_written(client)


def test_a_range_with_no_free_port(node: Callable[..., Node]) -> None:
    first = free_range(2)
    with socket.create_server(("127.0.0.1", first)), socket.create_server(("127.0.0.1", first + 1)):
        message = ends(node(listen=f"127.0.0.1:{first}-{first + 1}", secret=SECRET))
    assert message == (
        f"listen 127.0.0.1:{first} to 127.0.0.1:{first + 1}: all 2 addresses are in use: other processes listen there"
    )


def own_address() -> str:
    """The address from which this host would send to others; the test is skipped where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this host has no way to others")
        address: str = probe.getsockname()[0]
    return address


def test_all_addresses_of_a_host(dsn: str) -> None:
    """The database is on loopback here, so what is found is the address from which others would be reached."""
    host, first = own_address(), free_range(2)
    section = {"listen": f"0.0.0.0:{first}-{first + 1}", "secret": SECRET}
    with Cluster(dsn, sections=[section] * 2) as cluster:
        assert {node.address for node in cluster.nodes} == {f"{host}:{first}", f"{host}:{first + 1}"}
        shared(cluster[0], cluster[1], "wildcard")
        shared(cluster[1], cluster[0], "and-back")


def test_an_address_that_is_given(dsn: str) -> None:
    sections = [{"listen": f"0.0.0.0:{free_port()}", "advertise": "localhost", "secret": SECRET} for _ in range(2)]
    with Cluster(dsn, sections=sections) as cluster:
        ports = [str(section["listen"]).rpartition(":")[2] for section in sections]
        assert [node.address for node in cluster.nodes] == [f"localhost:{port}" for port in ports]
        shared(cluster[0], cluster[1], "advertised")


def test_an_address_that_another_process_has(dsn: str, node: Callable[..., Node]) -> None:
    """As two containers do that were given one `advertise`."""
    claimed = f"127.0.0.1:{free_port()}"
    with Cluster(dsn, sections=[{"listen": claimed, "advertise": claimed, "secret": SECRET}]) as cluster:
        message = ends(node(listen=f"127.0.0.1:{free_port()}", advertise=claimed, secret=SECRET))
        assert message == (
            f"advertise {claimed}: another process answers there: each process needs an address of its own"
        )
        assert title(cluster[0], new(cluster[0], "still-there", "yes")) == "yes"
        assert cluster[0].says_serving()


# --- a list


def refused(cluster: Cluster, stranger: Node) -> None:
    """A process that is not on the list is kept out, although it has the secret, and nobody reads wrongly."""
    stranger.start()
    stranger.wait_ready(serving=False)
    for one in cluster.nodes:
        wait_for(lambda one=one: one.http.stats()["network"]["faults"].get("not_admitted"), "a refusal")
        warning = f"the process at {stranger.address} uses the same database and is not in groupcache.peers"
        wait_for(lambda one=one, warning=warning: warning in one.log(), "a warning")
    item = new(cluster[0], "listed", "0")
    everyone = [*cluster.nodes, stranger]
    for number in range(1, 7):
        writer = everyone[number % 3]
        assert writer.http.patch(item, {"title": str(number)}).status == 204
        for reader in everyone:
            assert title(reader, item) == str(number), reader.name
    assert all(one.log().count(warning) == 1 for one in cluster.nodes)
    assert not any(row["connected"] for row in stranger.http.stats()["members"])
    for one in cluster.nodes:
        connected = {row["address"] for row in one.http.stats()["members"] if row["connected"]}
        assert connected == {other.address for other in cluster.nodes} - {one.address}
    assert "not admitted by the other side" in stranger.log()
    stranger.stop()
    cluster.wait_whole()


def test_a_list_of_peers(dsn: str, node: Callable[..., Node]) -> None:
    peers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    # The own address need not be on the list.
    sections = [{"listen": peers[i], "peers": [peers[1 - i]], "secret": SECRET} for i in range(2)]
    with Cluster(dsn, sections=sections) as cluster:
        shared(cluster[0], cluster[1], "list")
        refused(cluster, node(listen=f"127.0.0.1:{free_port()}", secret=SECRET))


def test_names_of_peers(dsn: str, node: Callable[..., Node]) -> None:
    listens = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    names = [f"dns:localhost:{listen.rpartition(':')[2]}" for listen in listens]
    with Cluster(dsn, sections=[{"listen": listen, "peers": names, "secret": SECRET} for listen in listens]) as cluster:
        shared(cluster[0], cluster[1], "names")
        refused(cluster, node(listen=f"127.0.0.1:{free_port()}", secret=SECRET))


def test_a_name_that_means_nobody(dsn: str) -> None:
    """It is said, and the process starts: the name may mean somebody later."""
    listen = f"127.0.0.1:{free_port()}"
    section = {"listen": listen, "peers": ["dns:nobody.invalid:9000"], "secret": SECRET}
    with Cluster(dsn, sections=[section]) as cluster:
        assert title(cluster[0], new(cluster[0], "item", "there")) == "there"
        wait_for(lambda: "dns:nobody.invalid:9000 cannot be resolved" in cluster[0].log(), "a warning")


# --- no way to find each other


def test_a_process_that_is_the_only_one(dsn: str, session: dict[str, str]) -> None:
    with Cluster(dsn, environ=session, sections=[{"peers": []}]) as cluster:
        assert cluster[0].address is None
        assert "a cache of this process alone" in cluster[0].log()
        item = new(cluster[0], "item", "before")
        assert title(cluster[0], item) == "before"
        assert cluster[0].http.stats()["hits"]["own"] > 0
        assert not Path(session["XDG_RUNTIME_DIR"], "guillotina_groupcache").exists()


def test_without_postgresql_there_are_no_peers(node: Callable[..., Node]) -> None:
    """What is said stays an error; nothing said is a cache of the own, as nobody else has a database in memory."""
    dummy = {"db": {"storage": "DUMMY", "name": "db"}}
    explicit, silent = node(listen=f"127.0.0.1:{free_port()}", secret=SECRET), node()
    for one in (explicit, silent):
        config = yaml.safe_load(one.config_file.read_text())
        one.config_file.write_text(yaml.safe_dump({**config, "databases": dummy}))
    assert ends(explicit).startswith("groupcache.peers: there is no PostgreSQL database for the members table")
    silent.start()
    silent.wait_ready()
    assert "a cache of this process alone" in silent.log()
