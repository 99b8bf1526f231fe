"""A read from this process' memory: `Transaction._get`, beside guillotina.contrib.cache in memory.

Theirs checks nothing; ours checks at every hit that it may serve and that the version is current.
`details`: microseconds of each side, of an empty call into Go, and of a read whose cache is a dict.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from functools import partial
from typing import Any

from guillotina.component import query_utility
from guillotina.db.cache.base import BaseCache

from benchmarks.lib import agent, command, content, sites
from benchmarks.lib.pairs import by_turns, ratio, spread
from benchmarks.lib.report import Answer, Finding
from harness.postgres_server import PostgresServer

OBJECTS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=40, help="times that each side is measured")
    parser.add_argument("--passes", type=int, default=100, help=f"passes over {OBJECTS} objects in a round")
    parser.add_argument("--starts", type=int, default=3, help="times that the processes are started")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    planted = content.Content(postgres, {"folder": OBJECTS})
    measured: dict[str, list[float]] = {}
    for _ in range(options.starts):
        for name, values in _one_start(options, planted).items():
            measured.setdefault(name, []).extend(values)
    theirs = measured["theirs"]
    details = {name: spread([value / 1000 for value in values]) for name, values in measured.items()}
    findings = [
        Finding(
            name,
            ratio(measured[side], theirs),
            target,
            ours=details[side].median,
            theirs=details["theirs"].median,
            sides_unit="µs",
        )
        for name, side, target in (
            ("hot read, beside contrib in memory", "ours", 0.6),
            ("  the lower bound: a dict as cache", "floor", None),
            ("  an empty call into Go", "empty call into Go", None),
        )
    ]
    return Answer(findings, details)


def _one_start(options: argparse.Namespace, planted: content.Content) -> dict[str, list[float]]:
    with sites.groupcache(planted.copy(), 3) as ours, sites.contrib(planted.copy(), 1) as theirs:
        oids = sites.run(ours[0], content.oids, folder="folder")
        seen = {sites.run(site[0], digest, oids=oids) for site in (ours, theirs)}
        assert len(seen) == 1, "both sides give the same data"
        loops = {"oids": oids, "passes": options.passes}
        return by_turns(
            {
                "ours": partial(sites.run, ours[0], read, **loops),
                "theirs": partial(sites.run, theirs[0], read, **loops),
                "empty call into Go": partial(sites.run, ours[0], call, count=OBJECTS * options.passes),
                "floor": partial(sites.run, theirs[0], read_dict, **loops),
            },
            options.rounds // options.starts,
        )


# --- inside of a node


async def digest(oids: list[str]) -> str:
    """Return a hash of everything that reads of these objects give; afterwards they are in memory."""
    found = hashlib.sha256()
    for _ in range(3):  # the first read makes a hot copy, the second one a near entry
        async with agent.read_only() as transaction:
            for oid in oids:
                row = dict(await transaction._get(oid))
                found.update(repr(sorted(row.items())).encode())
    return found.hexdigest()


async def read(oids: list[str], passes: int) -> float:
    """Return the median nanoseconds of a read; each pass is a transaction that reads every object once."""
    taken = []
    for _ in range(passes):
        async with agent.read_only() as transaction:
            taken.append(await _timed(transaction, oids))
    return statistics.median(taken) / len(oids)


async def read_dict(oids: list[str], passes: int) -> float:
    """Return the same with a dict as cache, which is Guillotina's own time."""
    async with agent.read_only() as transaction:
        rows = {oid: await transaction._get(oid) for oid in oids}
        transaction._cache = _Dict(rows)
        return statistics.median([await _timed(transaction, oids) for _ in range(passes)]) / len(oids)


async def _timed(transaction: Any, oids: list[str]) -> int:
    get = transaction._get
    begin = time.perf_counter_ns()
    for oid in oids:
        await get(oid)
    return time.perf_counter_ns() - begin


class _Dict(BaseCache):
    def __init__(self, rows: dict[Any, Any]) -> None:
        self._rows = rows

    async def get(self, oid: Any = None, container: Any = None, id: Any = None, variant: Any = None) -> Any:
        return self._rows[oid]


async def call(count: int) -> float:
    """Return the nanoseconds of a call into Go that only finds its node."""
    from guillotina_groupcache.interfaces import IGroupcacheUtility

    node = query_utility(IGroupcacheUtility)._node
    function, handle = node._lib.gc_fd, node._handle
    begin = time.perf_counter_ns()
    for _ in range(count):
        function(handle)
    return (time.perf_counter_ns() - begin) / count


if __name__ == "__main__":
    command.main(__name__)
