"""Servers with several workers: one configuration file, and each worker is a process of the cluster."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.client import CONTAINER, HttpClient
from harness.cluster import SECRET, Cluster
from harness.local import wait_for
from harness.node import Node
from tests.cluster.steps import free_range


@contextmanager
def served(
    dsn: str, node: Callable[..., Node], environ: dict[str, str], *server: str, **section: Any
) -> Iterator[Node]:
    """Run a server of several workers with one configuration file over a set-up database; end it in order."""
    with Cluster(dsn, environ=environ, sections=[section or None]):
        pass
    workers = node(environ=environ, server=server, **section)
    workers.start()
    try:
        yield workers
        assert workers.stop(timeout=60) in (0, -signal.SIGTERM), workers.log()
    except BaseException:
        print(workers.log())
        raise


def workers(client: HttpClient, count: int) -> dict[str, Any]:
    """Return the statistics of each worker by its address, once this many serve and are connected with each other."""
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
    """Check that any worker reads the last write of any worker."""
    assert client.post(CONTAINER, {"@type": "Item", "id": "item", "title": "0"}).status == 201
    for number in range(1, times):
        assert client.patch(f"{CONTAINER}/item", {"title": str(number)}).status == 204
        for _ in range(4):
            assert client.get(f"{CONTAINER}/item").json()["title"] == str(number)


def test_gunicorn_with_nothing_configured(dsn: str, node: Callable[..., Node], session: dict[str, str]) -> None:
    """One file and four workers are all that a site with one host needs."""
    with served(dsn, node, session, "gunicorn", "-w", "4", "-k", "asgi", "-b", "127.0.0.1:PORT") as server:
        found = workers(server.http, 4)
        folder = Path(session["XDG_RUNTIME_DIR"], "guillotina_groupcache")
        assert set(found) == {f"unix:{folder}/{number}.sock" for number in range(4)}
        reads_what_was_written(server.http)


def test_workers_of_one_file_share_a_range_of_ports(dsn: str, node: Callable[..., Node]) -> None:
    first = free_range(4)
    section = {"listen": f"127.0.0.1:{first}-{first + 3}", "secret": SECRET}
    with served(dsn, node, {}, "uvicorn", "--workers", "3", "--port", "PORT", **section) as server:
        assert set(workers(server.http, 3)) == {f"127.0.0.1:{first + number}" for number in range(3)}
        reads_what_was_written(server.http)
