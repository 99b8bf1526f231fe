"""What grows with the number of peers: 2, 4, 8 and 16 real processes on this machine.

All of them share its cores, so times grow with the work of all processes; messages, queries and memory do not depend on
that. `details` has for each number of peers: read (µs of a read from a peer), commit (ms) and announcement (ms) at one
of them; frames (sent by all peers for a commit), queries (per second, of the members table), memory (MB that a process
alone uses right after it has joined) and join (ms until it serves). The same is kept as CSV and as a picture; `laws`
are the lines through the points.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from contextlib import closing
from itertools import pairwise
from typing import Any, Final

import psutil
import psycopg2

from benchmarks import commit, peer_read
from benchmarks.lib import command, content, pictures, sites
from benchmarks.lib.pairs import Spread
from benchmarks.lib.report import RESULTS, Answer, Finding
from harness.local import wait_for
from harness.node import Node
from harness.postgres_server import PostgresServer

UNITS: Final = {
    "read": "µs",
    "commit": "ms",
    "announcement": "ms",
    "frames": "per commit",
    "queries": "/s",
    "memory": "MB",
    "join": "ms",
}
READS, COMMITS = 300, 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peers", type=int, nargs="+", default=[2, 4, 8, 16], help="numbers of peers, growing")
    parser.add_argument("--rounds", type=int, default=5, help="times that read and commit are measured")
    parser.add_argument("--watch", type=float, default=5.0, help="seconds for which queries are counted")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    objects = READS * options.rounds * max(options.peers) * 2
    planted = content.Content(postgres, {"folder": min(objects, 20_000)})
    points: dict[int, dict[str, float]] = {}
    dsn = planted.copy()
    with sites.groupcache(dsn, max(options.peers), started=1, pool_size=2) as site:
        for before, count in pairwise([1, *options.peers]):
            if count - before > 1:
                site.start(*site.nodes[before : count - 1])
            joined = _joined(site, site.nodes[count - 1])
            points[count] = {**_point(site.nodes[:count], options, dsn), **joined}
    return _answer(points)


def _point(nodes: list[Node], options: argparse.Namespace, dsn: str) -> dict[str, float]:
    oids = sites.run(nodes[0], content.oids, folder="folder")
    owned = _owned_elsewhere(nodes, oids)
    reads = [
        sites.run(nodes[0], peer_read.read_peer, oids=owned[at : at + READS])
        for at in range(0, READS * options.rounds, READS)
        if at + READS <= len(owned)
    ]
    some = oids[:COMMITS]
    sites.run(nodes[0], commit.commit, oids=some, commits=COMMITS)
    idle, begin = _frames(nodes), time.monotonic()
    queries = _queries(dsn)
    time.sleep(options.watch)
    queries, elapsed = _queries(dsn) - queries, time.monotonic() - begin
    before = _frames(nodes)
    per_second = (before - idle) / elapsed
    begin = time.monotonic()
    commits = [sites.run(nodes[0], commit.commit_announced, oids=some, commits=COMMITS) for _ in range(options.rounds)]
    frames = _frames(nodes) - before - per_second * (time.monotonic() - begin)
    return {
        "read": statistics.median(reads) / 1000,
        "commit": statistics.median(taken for taken, _ in commits),
        "announcement": statistics.median(waited for _, waited in commits),
        "frames": frames / (COMMITS * options.rounds),
        "queries": queries / elapsed,
    }


def _owned_elsewhere(nodes: list[Node], oids: list[str]) -> list[str]:
    """Clear the cache, and return objects that other nodes own and have in memory, unlike the first one."""
    assert nodes[0].http.post("/db/c/@cache-clear").status == 200
    wait_for(lambda: not nodes[0].http.stats()["events"]["open"], "the clear to be over")
    share = len(oids) // (len(nodes) - 1)
    owned: list[str] = []
    for number, node in enumerate(nodes[1:]):
        mine = oids[number * share : (number + 1) * share]
        for at in range(0, len(mine), 1000):
            owned += sites.run(node, peer_read.owned, oids=mine[at : at + 1000])
    return owned


def _frames(nodes: list[Node]) -> int:
    return sum(node.http.stats()["network"]["frames_out"] for node in nodes)


def _queries(dsn: str) -> int:
    """Return the scans of the members table since its creation, which PostgreSQL counts half a second late."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(seq_scan + coalesce(idx_scan, 0))::bigint FROM pg_stat_user_tables"
            " WHERE relname LIKE 'groupcache%'"
        )
        (count,) = cursor.fetchone() or (0,)
        return int(count or 0)


def _joined(site: sites.Site, node: Node) -> dict[str, float]:
    """Start a node; return the milliseconds until it serves, and the megabytes that it alone uses then."""
    site.start(node)
    stats = node.http.stats()
    assert node.process is not None
    memory = psutil.Process(node.process.pid).memory_full_info().uss
    return {"memory": memory / 1e6, "join": (stats["uptime"] - stats["since"]) * 1000}


def _answer(points: dict[int, dict[str, float]]) -> Answer:
    counts = list(points)
    curves = {name: [points[count][name] for count in counts] for name in UNITS}
    laws = {name: _law(counts, values) for name, values in curves.items()}
    _keep(counts, curves)
    findings = [
        Finding(
            f"{name} with {counts[-1]} peers, beside {counts[0]}: {law['each']:+.3g} {UNITS[name]} per peer",
            Spread(*[curves[name][-1] / curves[name][0]] * 3),
            ours=curves[name][-1],
            theirs=curves[name][0],
            sides_unit=UNITS[name],
        )
        for name, law in laws.items()
    ]
    details: dict[str, Any] = {"peers": counts, **curves, "laws": laws}
    return Answer(findings, details)


def _law(counts: list[int], values: list[float]) -> dict[str, float]:
    """Return the line `base + each * peers` nearest to the points."""
    each, base = statistics.linear_regression(counts, values) if len(counts) > 1 else (0.0, values[0])
    return {"base": base, "each": each}


def _keep(counts: list[int], curves: dict[str, list[float]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "scaling.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["peers", *(f"{name} ({UNITS[name]})" for name in curves)])
        writer.writerows(zip(counts, *curves.values(), strict=True))
    with pictures.picture("scaling", columns=3, rows=2) as axes:
        for plot, name in zip(axes.flat, ("read", "commit", "frames", "queries", "memory", "join"), strict=True):
            pictures.lines(plot, counts, {name: curves[name]}, f"{name} ({UNITS[name]})", "peers")


if __name__ == "__main__":
    command.main(__name__)
