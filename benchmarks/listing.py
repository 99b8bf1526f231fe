"""A listing of 1,000 children by `async for child in folder.async_values()`, objects included.

Hot: everything is in the memory of the process, beside contrib in memory. All at peers: the process is a client, which
owns nothing, with an empty cache; beside contrib with Redis and an empty memory. All cold: no process has anything, not
even the folder; beside no cache.
`details`: milliseconds of each side.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from guillotina.component import query_utility
from guillotina.interfaces import ICacheUtility
from guillotina.utils import navigate_to

from benchmarks.lib import agent, command, content, sites
from benchmarks.lib.pairs import by_turns, ratio, spread
from benchmarks.lib.redis_server import RedisServer, running_redis
from benchmarks.lib.report import Answer, Finding
from harness.client import CONTAINER
from harness.local import wait_for
from harness.postgres_server import PostgresServer

CHILDREN = 1000
#: Listings of which a measurement takes the median, where one does not affect the next.
TIMES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=30, help="times that each side is measured")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    planted = content.Content(postgres, {"folder": CHILDREN})
    with (
        running_redis() as redis,
        sites.groupcache(planted.copy(), 4, clients=1) as ours,
        sites.contrib(planted.copy(), 1) as memory,
        sites.contrib(planted.copy(), 1, redis) as with_redis,
        sites.uncached(planted.copy(), 1) as none,
    ):
        measured = by_turns(_sides(ours, memory, with_redis, none, redis), options.rounds)
    details = {name: spread(values) for name, values in measured.items()}
    findings = [
        Finding(
            f"list {CHILDREN:,}, {name}, beside {theirs}",
            ratio(measured[f"ours, {name}"], measured[theirs]),
            target,
            ours=details[f"ours, {name}"].median,
            theirs=details[theirs].median,
            sides_unit="ms",
        )
        for name, theirs, target in (
            ("hot", "contrib in memory", 0.9),
            ("all at peers", "contrib Redis", 0.25),
            ("all cold", "no cache", 1.15),
            ("all cold", "contrib, all cold", None),
        )
    ]
    return Answer(findings, details)


def _sides(
    ours: sites.Site, memory: sites.Site, with_redis: sites.Site, none: sites.Site, redis: RedisServer
) -> dict[str, Callable[[], float]]:
    """Return the measurements by name. Ours prepare what they need: cold, at peers, hot."""
    *owners, client = ours.nodes
    digests = {sites.run(node, digest) for site in (ours, memory, with_redis, none) for node in site.nodes}
    assert len(digests) == 1, "all sides give the same data"

    def cold() -> float:
        _clear(ours)
        return float(sites.run(owners[0], listed))

    def at_peers() -> float:
        # A listing at one of the owners brings everything to its owner.
        _clear(ours)
        sites.run(owners[0], listed)
        return float(sites.run(client, listed, source="peer"))

    def hot() -> float:
        for _ in range(2):  # what another node owns is a hot copy here from its first read on
            sites.run(owners[0], listed)
        return float(sites.run(owners[0], listed, times=TIMES))

    def redis_cold() -> float:
        redis.clear()
        return float(sites.run(with_redis[0], listed, forget=True))

    return {
        "ours, hot": hot,
        "contrib in memory": partial(sites.run, memory[0], listed, times=TIMES),
        "ours, all at peers": at_peers,
        "contrib Redis": partial(sites.run, with_redis[0], listed, forget=True),
        "ours, all cold": cold,
        "no cache": partial(sites.run, none[0], listed, times=TIMES),
        "contrib, all cold": redis_cold,
    }


def _clear(site: sites.Site) -> None:
    assert site[0].http.post(f"{CONTAINER}/@cache-clear").status == 200
    for node in site.nodes:
        # This request brings the container into memory, which every request has to read.
        wait_for(lambda node=node: _settled(node), f"{node.name} to have settled")  # type: ignore[misc]


def _settled(node: Any) -> bool:
    stats = node.http.stats()
    return bool(stats["serving"] and not stats["events"]["open"])


# --- inside of a node


async def digest() -> str:
    """Return a hash of the children and their order; afterwards they are in memory, in Redis and at their owners."""
    found = set()
    for _ in range(2):
        async with agent.read_only() as transaction:
            folder = await _folder(transaction)
            children = [child async for child in folder.async_values()]
            text = repr([(c.__uuid__, c.id, c.__serial__, sorted(c.__dict__.items())) for c in children])
            found.add(hashlib.sha256(text.encode()).hexdigest())
    assert len(found) == 1
    return found.pop()


async def listed(times: int = 1, forget: bool = False, source: str = "") -> float:
    """Return the milliseconds of a listing; `forget` empties contrib's memory; `source` must give all children."""
    utility: Any = query_utility(ICacheUtility)
    if forget:
        utility._memory_cache.clear()
    return statistics.median([await _listed(source) for _ in range(times)])


async def _listed(source: str) -> float:
    async with agent.read_only() as transaction:
        folder = await _folder(transaction)
        before = _came_from(source)
        begin = time.perf_counter()
        children = [child async for child in folder.async_values()]
        taken = time.perf_counter() - begin
        assert len(children) == CHILDREN
        assert not source or _came_from(source) >= before + CHILDREN, "all came from where they should"
    return taken * 1000


async def _folder(transaction: Any) -> Any:
    root = await agent.transaction_manager().get_root(txn=transaction)
    return await navigate_to(root, f"{CONTAINER.rpartition('/')[2]}/folder")


def _came_from(source: str) -> int:
    from guillotina_groupcache.interfaces import IGroupcacheUtility

    utility: Any = query_utility(IGroupcacheUtility)
    return int(utility.local_stats()["hits"][source]) if source else 0


if __name__ == "__main__":
    command.main(__name__)
