"""How often is a cold object loaded from the database that 150 clients GET from 3 nodes at once?

Every round takes an object that was not read before, over HTTP. `details`: the loads of each round.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.lib import command, content, load, loads, sites
from benchmarks.lib.pairs import Spread, by_turns
from benchmarks.lib.redis_server import running_redis
from benchmarks.lib.report import Answer, Finding
from harness.client import CONTAINER
from harness.postgres_server import PostgresServer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=15, help="times that each side is measured")
    parser.add_argument("--clients", type=int, default=50, help="at each of the three nodes")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    planted = content.Content(postgres, {"folder": options.rounds + 2})
    with (
        running_redis() as redis,
        sites.groupcache(planted.copy(), 3) as ours,
        sites.contrib(planted.copy(), 3, redis) as theirs,
        sites.uncached(planted.copy(), 3) as none,
    ):
        turns: dict[str, Callable[[], float]] = {
            name: partial(_loads, site, iter(range(1, options.rounds + 2)), options.clients)
            for name, site in (("ours", ours), ("contrib Redis", theirs), ("no cache", none))
        }
        for site in (ours, theirs, none):
            _loads(site, iter([0]), options.clients)  # the object's ancestors are warm
        measured = by_turns(turns, options.rounds)
    worst = {name: _worst(values) for name, values in measured.items()}
    finding = Finding(
        f"loads of a cold object, {options.clients * 3} clients at 3 nodes; the worst, beside contrib Redis",
        worst["ours"],
        1,
        unit="loads",
        ours=worst["ours"].median,
        theirs=worst["contrib Redis"].median,
    )
    return Answer([finding], dict(measured))


def _worst(values: list[float]) -> Spread:
    return Spread(*[max(values)] * 3)


def _loads(site: sites.Site, items: Iterator[int], clients: int) -> float:
    """Return how often the next object is loaded."""
    item = str(next(items))
    path = f"{CONTAINER}/folder/{item}"
    before = _counted(site, item)
    bodies = asyncio.run(_at_once([node.port for node in site.nodes], path, clients))
    assert len(bodies) == 1, "all clients got the same"
    return float(_counted(site, item) - before)


def _counted(site: sites.Site, item: str) -> int:
    return sum(sites.run(node, loads.count, name=item) for node in site.nodes)


async def _at_once(ports: list[int], path: str, clients: int) -> set[bytes]:
    """Return the different bodies that clients get that send their requests to all ports at the same moment."""
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(load.Connection, "127.0.0.1", port))[1] for _ in range(clients) for port in ports
    ]
    request = load.request_of("GET", path)
    statuses = await asyncio.gather(*(connection.request(request) for connection in connections))
    assert set(statuses) == {200}, statuses
    return {connection.body() for connection in connections}


if __name__ == "__main__":
    command.main(__name__)
