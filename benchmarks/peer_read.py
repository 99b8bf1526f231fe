"""A read from another process' memory, beside a read from Redis.

Ours goes over a unix socket, and over TCP with TLS by a secret; theirs over a unix socket, which
guillotina.contrib.redis itself does not support, but its driver with another address does. Every object is read once,
so that no read finds a hot copy.
`details`: microseconds of each side, of a bare round trip to Redis, and of one with the event loop.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from functools import partial
from itertools import count
from typing import Any

from guillotina.component import get_utility
from guillotina.interfaces import ICacheUtility

from benchmarks.lib import agent, command, content, round_trip, sites
from benchmarks.lib.pairs import by_turns, ratio, spread
from benchmarks.lib.redis_server import running_redis
from benchmarks.lib.report import Answer, Finding
from harness.postgres_server import PostgresServer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=40, help="times that each side is measured")
    parser.add_argument("--reads", type=int, default=200, help="reads in a round")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    # A node owns half of the objects, and one more round is not counted.
    objects = int(options.reads * (options.rounds + 2) * 2.4)
    planted = content.Content(postgres, {"folder": objects})
    with (
        running_redis() as redis,
        sites.groupcache(planted.copy(), 2, unix=True) as unix,
        sites.groupcache(planted.copy(), 2) as tcp,
        sites.contrib(planted.copy(), 1, redis, unix=True) as redis_unix,
    ):
        measured = _measured(options, unix, tcp, redis_unix, str(redis.socket))
    return _answer(measured)


def _measured(
    options: argparse.Namespace, unix: sites.Site, tcp: sites.Site, redis: sites.Site, path: str
) -> dict[str, list[float]]:
    oids = sites.run(tcp[0], content.oids, folder="folder")
    some, oids = oids[: options.reads], oids[options.reads :]
    for at in range(0, len(oids), 1000):
        sites.run(redis[0], fill_redis, oids=oids[at : at + 1000])
    ours = {name: _Reads(site, oids, options.reads) for name, site in (("unix", unix), ("TCP with TLS", tcp))}
    digests = {sites.run(site[0], digest, oids=some) for site in (unix, tcp, redis)}
    assert len(digests) == 1, "all sides give the same data"
    theirs = count()
    return by_turns(
        {
            **{name: reads.measure for name, reads in ours.items()},
            "Redis over unix": lambda: float(
                sites.run(redis[0], read_redis, oids=oids[(at := next(theirs) * options.reads) : at + options.reads])
            ),
            "bare round trip": partial(sites.run, redis[0], round_trip.blocking, path=path, count=options.reads),
            "round trip with the event loop": partial(
                sites.run, redis[0], round_trip.on_the_loop, path=path, count=options.reads
            ),
        },
        options.rounds,
    )


class _Reads:
    """Reads at a site's first node of objects that its second one owns and has in memory."""

    def __init__(self, site: sites.Site, oids: list[str], size: int) -> None:
        self._site, self._size = site, size
        self._owned: list[str] = []
        for at in range(0, len(oids), 1000):
            self._owned += sites.run(site[1], owned, oids=oids[at : at + 1000])

    def measure(self) -> float:
        oids, self._owned = self._owned[: self._size], self._owned[self._size :]
        assert len(oids) == self._size, "there are enough objects"
        return float(sites.run(self._site[0], read_peer, oids=oids))


def _answer(measured: dict[str, list[float]]) -> Answer:
    redis = measured["Redis over unix"]
    details = {name: spread([value / 1000 for value in values]) for name, values in measured.items()}
    findings = [
        Finding(
            f"read from a peer over {name}, beside Redis over unix",
            ratio(measured[name], redis),
            target,
            ours=details[name].median,
            theirs=details["Redis over unix"].median,
            sides_unit="µs",
        )
        for name, target in (("unix", 0.8), ("TCP with TLS", 1.0))
    ]
    findings += [
        Finding(f"  the lower bound: {name}", ratio(measured[name], redis), ours=details[name].median, sides_unit="µs")
        for name in ("bare round trip", "round trip with the event loop")
    ]
    return Answer(findings, details)


# --- inside of a node


async def digest(oids: list[str]) -> str:
    """Return a hash of everything that reads of these objects give."""
    found = hashlib.sha256()
    async with agent.read_only() as transaction:
        for oid in oids:
            found.update(repr(sorted(dict(await transaction._get(oid)).items())).encode())
    return found.hexdigest()


async def fill_redis(oids: list[str]) -> None:
    """Put objects into Redis, as the first read of each does."""
    async with agent.read_only() as transaction:
        for oid in oids:
            await transaction._get(oid)


async def owned(oids: list[str]) -> list[str]:
    """Return those of the objects that this node owns; it has them in memory afterwards."""
    from guillotina_groupcache import keys
    from guillotina_groupcache.constants import Source
    from guillotina_groupcache.interfaces import IGroupcacheUtility

    utility: Any = get_utility(IGroupcacheUtility)
    wanted = [keys.encode(agent.DATABASE, keys.Kind.OBJECT, oid) for oid in oids]
    await utility.reads.get_many(wanted)
    found = await utility.reads.get_many(wanted)
    return [oid for oid, (_, source) in zip(oids, found, strict=True) if source is Source.OWN]


async def read_peer(oids: list[str]) -> float:
    """Return the median nanoseconds of a read from a peer."""
    from guillotina_groupcache.interfaces import IGroupcacheUtility

    utility: Any = get_utility(IGroupcacheUtility)
    before = utility.local_stats()["hits"]["peer"]
    taken = await _timed(oids)
    assert utility.local_stats()["hits"]["peer"] == before + len(oids), "every read came from the peer"
    return taken


async def read_redis(oids: list[str]) -> float:
    """Return the median nanoseconds of a read from Redis that this process' memory does not have."""
    utility: Any = get_utility(ICacheUtility)
    utility._memory_cache.clear()
    taken = await _timed(oids)
    assert utility._memory_cache.get_stats(), "it came into memory"
    return taken


async def _timed(oids: list[str]) -> float:
    async with agent.read_only() as transaction:
        taken = []
        for oid in oids:
            begin = time.perf_counter_ns()
            await transaction._get(oid)
            taken.append(time.perf_counter_ns() - begin)
        assert transaction._cache._misses == 0, "nothing came from the database"
    return statistics.median(taken)


if __name__ == "__main__":
    command.main(__name__)
