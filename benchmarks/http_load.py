"""Requests per second at three nodes, with 5 % writes: items, and listings of 20, beside contrib with Redis.

Everything runs on one machine: the nodes, PostgreSQL, Redis and the load generator, so a request costs what all of
them spend on it. `details`: requests per second of each side, milliseconds of a GET, and milliseconds of processor time
that its nodes, PostgreSQL and Redis together spend on a request.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from guillotina.utils import navigate_to

from benchmarks.lib import agent, command, content, cpu, load, sites
from benchmarks.lib.pairs import by_turns, ratio, spread
from benchmarks.lib.redis_server import running_redis
from benchmarks.lib.report import Answer, Finding
from harness.client import CONTAINER
from harness.postgres_server import PostgresServer

ITEMS = 1000
PAGE = 20
#: Answers that are compared before the load.
CHECKED = 10
PATHS = {
    "GET item": [f"{CONTAINER}/folder/{number}" for number in range(ITEMS)],
    "GET @items?page_size=20": [
        f"{CONTAINER}/folder/@items?page_size={PAGE}&page={number + 1}" for number in range(ITEMS // PAGE)
    ],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=12, help="times that each side is measured")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a measurement")
    parser.add_argument("--connections", type=int, default=4, help="to each node")
    parser.add_argument("--writes", type=float, default=0.05, help="share of PATCH requests")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    planted = content.Content(postgres, {"folder": ITEMS})
    result = Answer()
    with (
        running_redis() as redis,
        sites.groupcache(planted.copy(), 3) as ours,
        sites.contrib(planted.copy(), 3, redis) as theirs,
        sites.uncached(planted.copy(), 3) as none,
    ):
        both = {"ours": ours, "contrib Redis": theirs, "no cache": none}
        for paths in PATHS.values():
            _check(list(both.values()), paths[:: len(paths) // CHECKED])
        for node in itertools.chain.from_iterable(site.nodes for site in both.values()):
            sites.run(node, warm)
        for name, paths in PATHS.items():
            _measure(options, result, name, paths, both)
    return result


def _check(every: list[sites.Site], paths: list[str]) -> None:
    """Check that all nodes of all sides answer alike."""
    for path in paths:
        seen = set()
        for node in itertools.chain.from_iterable(site.nodes for site in every):
            got = node.http.get(path)
            assert got.status == 200, got
            seen.add(got.body.replace(node.http.url.encode(), b""))
        assert len(seen) == 1, f"all sides answer {path} alike"


def _measure(
    options: argparse.Namespace, result: Answer, name: str, paths: list[str], both: Mapping[str, sites.Site]
) -> None:
    loads: dict[str, list[load.Done]] = {side: [] for side in both}
    costs: dict[str, list[float]] = {side: [] for side in both}

    def side(which: str) -> float:
        ports = [node.port for node in both[which].nodes]
        before = cpu.seconds(both[which])
        done = load.generate(ports, paths, PATHS["GET item"], options.writes, options.seconds, options.connections)
        assert not done.failed, f"{done.failed} of {done.requests} requests failed"
        loads[which].append(done)
        costs[which].append((cpu.seconds(both[which]) - before) * 1000 / done.requests)
        return done.requests / done.seconds

    turns: dict[str, Callable[[], float]] = {which: partial(side, which) for which in both}
    measured = by_turns(turns, options.rounds)
    result.findings += _findings(f"{name}, {options.writes:.0%} writes", measured, costs)
    result.details[name] = {
        which: {
            "requests per second": spread(measured[which]),
            "median": spread([done.median for done in loads[which]]),
            "99 of 100": spread([done.slowest for done in loads[which]]),
            "processor": spread(costs[which]),
        }
        for which in both
    }


def _findings(name: str, measured: dict[str, list[float]], costs: dict[str, list[float]]) -> Iterator[Finding]:
    ours = spread(measured["ours"]).median
    for which, target in (("contrib Redis", 1.1), ("no cache", None)):
        yield Finding(
            f"{name}, beside {which}",
            ratio(measured["ours"], measured[which]),
            target,
            at_least=True,
            ours=ours,
            theirs=spread(measured[which]).median,
            sides_unit="/s",
        )
    yield Finding(
        "  processor time of a request, beside contrib Redis",
        ratio(costs["ours"], costs["contrib Redis"]),
        ours=spread(costs["ours"]).median,
        theirs=spread(costs["contrib Redis"]).median,
        sides_unit="ms",
    )


# --- inside of a node


async def warm() -> None:
    """Read what the requests will read, so that as much as possible is in memory."""
    for _ in range(3):  # what another node owns is a hot copy here from its first read on
        async with agent.read_only() as transaction:
            root: Any = await agent.transaction_manager().get_root(txn=transaction)
            folder = await navigate_to(root, f"{CONTAINER.rpartition('/')[2]}/folder")
            async for item in folder.async_values():
                with contextlib.suppress(KeyError):  # no item has one, which is cached too
                    await transaction.get_annotation(item, "default")


if __name__ == "__main__":
    command.main(__name__)
