"""How processes find each other: with no configuration, a range of ports, a host's addresses, a list, a name."""

from __future__ import annotations

import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from harness.cluster import SECRET, Cluster
from harness.local import free_port, wait_for
from harness.node import Node
from tests.cluster.steps import ends, free_range, new, shared, title, title_everywhere

SCRIPT = """
async def run(container):
    changed = await container.async_get("by-command")
    changed.title = "written by a command"
    changed.register()
"""

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
        # The search for a free socket has disturbed no process.
        assert all(node.http.stats()["network"]["faults"] == {} for node in cluster.nodes)

        for restarted in ([cluster[1]], [cluster[0], cluster[2]]):
            before = {node.address for node in restarted}
            for node in restarted:
                node.kill()
            assert all(path.exists() for path in sockets)
            cluster.start(*restarted)
            assert {node.address for node in restarted} == before
        shared(cluster[2], cluster[0], "three")
    assert list(folder.iterdir()) == []


def test_a_command_with_nothing_configured(dsn: str, session: dict[str, str]) -> None:
    """It is a client: it takes no socket, and the nodes learn of what it writes."""
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
    """In a folder that other users can enter they could impersonate a process: the site takes another folder."""
    folder = Path(session["XDG_RUNTIME_DIR"], "guillotina_groupcache")
    folder.mkdir(mode=0o700)
    folder.chmod(0o755)
    with Cluster(dsn, environ=session, sections=[None] * 2) as cluster:
        shared(cluster[0], cluster[1], "beside")
        for found in {Path(str(node.address).removeprefix("unix:")).parent for node in cluster.nodes}:
            assert found.parent == folder.parent and stat.S_IMODE(found.stat().st_mode) == 0o700
        assert all(f"{folder} is not a directory of this user" in node.log() for node in cluster.nodes)
    assert list(folder.iterdir()) == []


# --- a range of ports, all addresses of a host


def test_a_range_with_no_free_port(node: Callable[..., Node]) -> None:
    first = free_range(2)
    with socket.create_server(("127.0.0.1", first)), socket.create_server(("127.0.0.1", first + 1)):
        message = ends(node(listen=f"127.0.0.1:{first}-{first + 1}", secret=SECRET))
    assert message == (
        f"listen 127.0.0.1:{first} to 127.0.0.1:{first + 1}: all 2 addresses are in use: other processes listen there"
    )


def own_address() -> str:
    """Return the address from which this host sends to others; the test is skipped where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this host has no route to others")
        address: str = probe.getsockname()[0]
    return address


def test_all_addresses_of_a_host(dsn: str) -> None:
    """The database is on loopback here, so the address is found from which other hosts would be reached."""
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
    """Two containers may be given one `advertise`."""
    claimed = f"127.0.0.1:{free_port()}"
    with Cluster(dsn, sections=[{"listen": claimed, "advertise": claimed, "secret": SECRET}]) as cluster:
        message = ends(node(listen=f"127.0.0.1:{free_port()}", advertise=claimed, secret=SECRET))
        assert message == (
            f"advertise {claimed}: another process answers there: each process needs an address of its own"
        )
        assert title(cluster[0], new(cluster[0], "still-there", "yes")) == "yes"
        assert cluster[0].says_serving()


# --- a list


def refused(cluster: Cluster, unlisted: Node) -> None:
    """Check that a process is refused that is not on the list but has the secret, and that no node reads wrongly."""
    unlisted.start()
    unlisted.wait_ready(serving=False)
    for one in cluster.nodes:
        wait_for(lambda one=one: one.http.stats()["network"]["faults"].get("not_admitted"), "a refusal")
        warning = f"the process at {unlisted.address} uses the same database and is not in groupcache.peers"
        wait_for(lambda one=one, warning=warning: warning in one.log(), "a warning")
    item = new(cluster[0], "listed", "0")
    everyone = [*cluster.nodes, unlisted]
    for number in range(1, 7):
        writer = everyone[number % 3]
        assert writer.http.patch(item, {"title": str(number)}).status == 204
        for reader in everyone:
            assert title(reader, item) == str(number), reader.name
    assert all(one.log().count(warning) == 1 for one in cluster.nodes)
    assert not any(row["connected"] for row in unlisted.http.stats()["members"])
    for one in cluster.nodes:
        connected = {row["address"] for row in one.http.stats()["members"] if row["connected"]}
        assert connected == {other.address for other in cluster.nodes} - {one.address}
    assert "not admitted by the other side" in unlisted.log()
    unlisted.stop()
    cluster.wait_whole()


def test_a_list_of_peers(dsn: str, node: Callable[..., Node]) -> None:
    peers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    # A process' own address need not be on the list.
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


def test_a_name_without_an_address(dsn: str) -> None:
    """It is logged, and the process starts: the name may get an address later."""
    listen = f"127.0.0.1:{free_port()}"
    section = {"listen": listen, "peers": ["dns:nowhere.invalid:9000"], "secret": SECRET}
    with Cluster(dsn, sections=[section]) as cluster:
        assert title(cluster[0], new(cluster[0], "item", "there")) == "there"
        wait_for(lambda: "dns:nowhere.invalid:9000 cannot be resolved" in cluster[0].log(), "a warning")


# --- processes without peers


def test_a_process_that_is_the_only_one(dsn: str, session: dict[str, str]) -> None:
    with Cluster(dsn, environ=session, sections=[{"peers": []}]) as cluster:
        assert cluster[0].address is None
        assert "a cache of this process alone" in cluster[0].log()
        item = new(cluster[0], "item", "before")
        assert title(cluster[0], item) == "before"
        assert cluster[0].http.stats()["hits"]["own"] > 0
        assert not Path(session["XDG_RUNTIME_DIR"], "guillotina_groupcache").exists()


def test_without_postgresql_there_are_no_peers(node: Callable[..., Node]) -> None:
    """Explicit peers are an error; without them the cache is the process' own, as no other one has its database."""
    dummy = {"db": {"storage": "DUMMY", "name": "db"}}
    explicit, implicit = node(listen=f"127.0.0.1:{free_port()}", secret=SECRET), node()
    for one in (explicit, implicit):
        config = yaml.safe_load(one.config_file.read_text())
        one.config_file.write_text(yaml.safe_dump({**config, "databases": dummy}))
    assert ends(explicit).startswith("groupcache.peers: there is no PostgreSQL database for the members table")
    implicit.start()
    implicit.wait_ready()
    assert "a cache of this process alone" in implicit.log()
