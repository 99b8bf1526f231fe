"""The value of memory: reads that reach PostgreSQL from 4 processes with 64 MB each, of 200 MB by a Zipf distribution.

Every process reads at random, all with the same distribution (s = 0.9); beside contrib in memory with as many bytes per
process, whose processes do not share. Counted are the objects that are read from PostgreSQL.
`details`: the share of the reads that reached PostgreSQL, for each side.
"""

from __future__ import annotations

import argparse
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any

from benchmarks.lib import agent, command, content, loads, sites
from benchmarks.lib.pairs import Spread
from benchmarks.lib.report import Answer, Finding
from harness.postgres_server import PostgresServer

PROCESSES = 4
BATCH = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=64, help="MB of each process")
    parser.add_argument("--working-set", type=int, default=200, help="MB of objects")
    parser.add_argument("--object", type=int, default=10_000, help="bytes of an object")
    parser.add_argument("--s", type=float, default=0.9, help="of the Zipf distribution")
    parser.add_argument("--reads", type=int, default=15_000, help="of each process; as many before are not counted")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    objects = options.working_set * 10**6 // options.object
    planted = content.Content(postgres, {"folder": objects}, text=options.object - 200)
    size = options.size * 10**6
    with sites.groupcache(planted.copy(), PROCESSES, size=size) as site:
        ours = _share(site, options)
    with sites.contrib(planted.copy(), PROCESSES, memory_cache_size=size) as site:
        theirs = _share(site, options)
    finding = Finding(
        f"reads that reach PostgreSQL, {PROCESSES} × {options.size} MB, {options.working_set} MB by Zipf",
        Spread(*[ours / theirs] * 3),
        0.5,
        ours=ours * 100,
        theirs=theirs * 100,
        sides_unit="%",
    )
    return Answer([finding], {"ours": ours, "contrib in memory": theirs})


def _share(site: sites.Site, options: argparse.Namespace) -> float:
    """Return the share of the reads that reach PostgreSQL, once the caches are as full as they get."""
    for node in site.nodes:
        sites.run(node, prepare, s=options.s)
    objects = options.working_set * 10**6 // options.object
    _at_all(site, read_once, 0, objects // PROCESSES)
    _at_all(site, read_zipf, 0, options.reads)
    before = sum(sites.run(node, loads.count) for node in site.nodes)
    _at_all(site, read_zipf, options.reads, 2 * options.reads)
    loaded = sum(sites.run(node, loads.count) for node in site.nodes) - before
    return float(loaded / (PROCESSES * options.reads))


def _at_all(site: sites.Site, function: Any, begin: int, end: int) -> None:
    """Have all nodes make their reads with these numbers at once."""

    def at_one(number: int) -> None:
        for at in range(begin, end, BATCH):
            sites.run(site[number], function, number=number, begin=at, count=min(BATCH, end - at))

    with ThreadPoolExecutor(PROCESSES) as executor:
        list(executor.map(at_one, range(PROCESSES)))


# --- inside of a node

_oids: list[str] = []
_weights: list[float] = []


async def prepare(s: float) -> None:
    """Get the object ids, in the same order at every node: the more often read first."""
    _oids[:] = await content.oids("folder")
    _weights[:] = accumulate(1 / rank**s for rank in range(1, len(_oids) + 1))


async def read_once(number: int, begin: int, count: int) -> None:
    """Read some objects, other ones at every node."""
    await _read(_oids[number::PROCESSES][begin : begin + count])


async def read_zipf(number: int, begin: int, count: int) -> None:
    """Read objects at random, a few of them often; every `number` and `begin` reads others."""
    await _read(random.Random(f"{number} {begin}").choices(_oids, cum_weights=_weights, k=count))


async def _read(oids: list[str]) -> None:
    for at in range(0, len(oids), 20):
        async with agent.read_only() as transaction:
            for oid in oids[at : at + 20]:
                row = await transaction._get(oid)
                assert row["zoid"] == oid


if __name__ == "__main__":
    command.main(__name__)
