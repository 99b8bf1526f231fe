"""A process that is killed or stopped and comes back, and a database that restarts: no error, no stale read."""

from __future__ import annotations

import http.client
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from harness.client import CONTAINER
from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import Node
from harness.postgres_embedded import EmbeddedPostgres
from tests.cluster.life_load import ITEMS, Load, under_load
from tests.cluster.steps import database_transaction, is_serving, new, title, title_everywhere


def incarnations(cluster: Cluster) -> set[str]:
    """Return the incarnations in the members table, as the statistics write them."""
    with database_transaction(cluster) as cursor:
        cursor.execute("SELECT to_hex(incarnation) FROM groupcache_members")
        return {row for (row,) in cursor.fetchall()}


def incarnation(node: Node) -> str:
    found: str = node.http.stats()["incarnation"]
    return found.lstrip("0")


def test_a_peer_that_is_killed_and_comes_back(cluster: Cluster) -> None:
    victim, *others = cluster.nodes
    folder = new(victim, "killed", type_="Folder")
    with under_load(others, folder) as load:
        for path in load.paths:
            title(victim, path)
        victim.kill()
        load.wait_on()
        cluster.start(victim)
        load.wait_on()
        for item in range(ITEMS):
            load.check(victim, item)


def test_a_peer_that_is_stopped_and_wakes_up(cluster: Cluster) -> None:
    """R2 and R3: writers wait until its lease has run out, and it knows that, whatever it was about to do."""
    victim, *others = cluster.nodes
    folder = new(victim, "stopped", type_="Folder")
    with under_load(others, folder) as load:
        for _ in range(2):
            for item in range(ITEMS):
                load.check(victim, item)
            victim.pause()
            try:
                load.wait_on()
                # Requests that it gets while it is stopped, and while it wakes up.
                with ThreadPoolExecutor(2 * ITEMS) as threads:
                    early = [threads.submit(load.check, victim, item) for item in range(ITEMS)]
                    load.wait_on()
                    late = [threads.submit(load.check, victim, item) for item in range(ITEMS)]
                    victim.resume()
                    for request in early + late:
                        request.result()
            finally:
                victim.resume()
            for item in range(ITEMS):
                load.check(victim, item)
            wait_for(partial(is_back, load, victim), "it to serve again")
            cluster.wait_whole()
            load.wait_on()


def is_back(load: Load, node: Node) -> bool:
    """Return whether a node serves; it answers rightly before that, too."""
    for item in range(ITEMS):
        load.check(node, item)
    return is_serving(node)


def test_a_peer_that_writes_when_it_wakes_up(cluster: Cluster) -> None:
    victim, *others = cluster.nodes
    item = new(victim, "woken", "before")
    title_everywhere(cluster, item, "before")
    victim.pause()
    try:
        with ThreadPoolExecutor(1) as thread:
            written = thread.submit(victim.http.patch, item, {"title": "by the woken"})
            assert others[0].http.patch(CONTAINER + "/woken", {"title": "meanwhile"}).status == 204
            victim.resume()
            assert written.result().status == 204
    finally:
        victim.resume()
    title_everywhere(cluster, item, "by the woken")
    cluster.wait_whole()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_peer_that_is_ended(cluster: Cluster, number: signal.Signals) -> None:
    """It says bye, so that no write has to wait for a lease, and ends as a node without the add-on does."""
    plain = Node("plain", cluster.dsn, cluster.folder, overrides={"applications": ["guillotina"]})
    victim, *others = cluster.nodes
    folder = new(others[0], f"ended-{number}", type_="Folder")
    try:
        plain.start()
        plain.wait_ready(serving=False)
        with under_load(others, folder) as load:
            was = incarnation(victim)
            assert was in incarnations(cluster)
            assert victim.stop(number) == plain.stop(number)
            assert was not in incarnations(cluster)
            load.wait_on()
        # Guillotina logs an interrupt with a traceback.
        assert ("Traceback" in victim.log()) == ("Traceback" in plain.log())
    finally:
        plain.kill()
        cluster.start(victim)


def test_a_database_that_restarts() -> None:
    """No node ends, and when the database is back they are right again by themselves."""
    with EmbeddedPostgres() as server, Cluster(server.dsn("postgres")) as cluster:
        item = new(cluster[0], "item", "0")
        for i, mode in enumerate(("fast", "immediate"), 1):
            title_everywhere(cluster, item, str(i - 1))
            server.stop(mode)  # type: ignore[arg-type]
            for node in cluster.nodes:
                # Any answer will do.
                assert node.http.get("/").status == 200
                assert node.http.patch(item, {"title": "never"}).status >= 400
            server.start()
            for node in cluster.nodes:
                assert node.is_running()
                wait_for(partial(is_written, node, item, str(i)), f"{node.name} to write again")
            title_everywhere(cluster, item, str(i))
            cluster.wait_whole()
            title_everywhere(cluster, item, str(i))


def is_written(node: Node, path: str, title_: str) -> bool:
    """Write, and return whether that was accepted."""
    try:
        return node.http.patch(path, {"title": title_}).status == 204
    except (OSError, http.client.HTTPException):
        return False
