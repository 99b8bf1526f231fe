"""How soon three nodes read an outside write, as by psql, of one row at a time.

Measured is the time from the answer to COMMIT, which is not announced, until the last node reads the new state; each
has the object in its memory and reads it all the time. Once without load, once while clients use other objects.
`details`: milliseconds of the fastest, the median and the slowest write, for the last node and for each node.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from typing import Any, Final

import psycopg2

from benchmarks.lib import agent, command, content, load, sites
from benchmarks.lib.pairs import Spread, spread
from benchmarks.lib.report import Answer, Finding
from harness.client import CONTAINER
from harness.postgres_server import PostgresServer

NODES: Final = 3
OBJECTS: Final = 100
#: Milliseconds within which every node should have read a write while the database answers.
TARGET: Final = 1000
#: Seconds until a node that has not read it is wrong; between two reads; and of one call of the load.
TIMEOUT, PAUSE, LOAD_SECONDS = 30.0, 0.002, 2.0
#: The title of the items that `content` creates; the other titles are as long, as the pickle has the length.
PLANTED: Final = "An item"

_UPDATE: Final = """
UPDATE objects SET state = decode(replace(encode(state, 'hex'), %s, %s), 'hex') WHERE zoid = %s
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--writes", type=int, default=50, help="outside writes, quiet and under load each")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    planted = content.Content(postgres, {"folder": 1, "other": OBJECTS})
    findings, details = [], {}
    with sites.groupcache(planted.copy(), NODES) as site, closing(psycopg2.connect(site.dsn)) as connection:
        connection.autocommit = True
        (oid,) = sites.run(site[0], content.oids, folder="folder")
        numbers = (f"{number:0{len(PLANTED)}}" for number in itertools.count())
        titles = itertools.pairwise(itertools.chain([PLANTED], numbers))
        for name in ("quiet", "under load"):
            with loaded(site) if name == "under load" else nullcontext():
                measured = [_write(site, connection, oid, next(titles)) for _ in range(options.writes)]
            last = [max(row) for row in measured]
            findings.append(Finding(f"outside write, {name}: {NODES} nodes read it after", spread(last), unit="ms"))
            slowest = Spread(max(last), max(last), max(last))
            findings.append(Finding(f"outside write, {name}: the slowest of {options.writes}", slowest, TARGET, "ms"))
            details[name] = {"last node": _extent(last), "each node": _extent([ms for row in measured for ms in row])}
    return Answer(findings, details)


def _extent(values: list[float]) -> dict[str, float]:
    return {"least": min(values), "median": statistics.median(values), "most": max(values)}


def _write(site: sites.Site, connection: Any, oid: str, titles: tuple[str, str]) -> list[float]:
    """Return the milliseconds from one outside COMMIT, which changes the title, until each node reads it."""
    old, new = titles
    with ThreadPoolExecutor(NODES) as threads, connection.cursor() as cursor:
        reads = [threads.submit(partial(sites.run, node, read_until, oid=oid, title=new)) for node in site.nodes]
        # Views come at fixed intervals, with which writes must not coincide.
        time.sleep(random.uniform(0.1, 1.1))
        cursor.execute(_UPDATE, (old.encode().hex(), new.encode().hex(), oid))
        assert cursor.rowcount == 1
        committed = time.clock_gettime(time.CLOCK_MONOTONIC)
        return [(read.result() - committed) * 1000 for read in reads]


@contextmanager
def loaded(site: sites.Site) -> Iterator[None]:
    """Have clients read and write other objects at all nodes while the block runs."""
    paths = [f"{CONTAINER}/other/{number}" for number in range(OBJECTS)]
    ends = threading.Event()

    def generate() -> None:
        while not ends.is_set():
            load.generate([node.port for node in site.nodes], paths, paths, 0.05, LOAD_SECONDS, 1)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(generate)
        try:
            yield
        finally:
            ends.set()
            running.result()


# --- inside of a node


async def read_until(oid: str, title: str) -> float:
    """Read an object through the cache until it has the title; return that instant on the system's clock."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        async with agent.read_only() as transaction:
            if (await transaction.get(oid)).title == title:
                return time.clock_gettime(time.CLOCK_MONOTONIC)
        await asyncio.sleep(PAUSE)
    raise TimeoutError(f"{title!r} was not read within {TIMEOUT:.0f} s")


if __name__ == "__main__":
    command.main(__name__)
