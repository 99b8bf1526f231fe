"""What a process that fails or joins costs the others: three nodes of one host, over TCP with TLS.

Killed (SIGKILL): how soon another node shows it out, and how long an immediate commit takes. Stopped (SIGSTOP): the
first commit, which waits for a lease to run out, and the next one; continued: how soon it serves again. Joining: the
share of all objects that a fourth node owns, and so loads from the database once.
`details`: milliseconds of each round.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from guillotina.component import get_utility

from benchmarks.commit import commit
from benchmarks.lib import agent, command, content, sites
from benchmarks.lib.pairs import Spread, spread
from benchmarks.lib.report import Answer, Finding
from harness.local import wait_for
from harness.node import Node
from harness.postgres_server import PostgresServer

OBJECTS = 2000
#: Seconds that a writer may wait for a member: a lease on any clock, and 100 ms until it is marked out.
LEASE = 3.4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5, help="times that a process is killed, and stopped")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    planted = content.Content(postgres, {"folder": OBJECTS})
    measured: dict[str, list[float]] = {}
    with sites.groupcache(planted.copy(), 4, started=3) as site:
        oids = sites.run(site[0], content.oids, folder="folder")
        for _ in range(options.rounds):
            for what, value in (_killed(site, oids) | _stopped(site, oids)).items():
                measured.setdefault(what, []).append(value)
        share = _joined(site, oids)
    details = {what: spread(values) for what, values in measured.items()}
    return Answer([*_findings(details), _share(share)], details)


def _findings(details: dict[str, Spread]) -> list[Finding]:
    targets = {
        "killed: another node shows it out after": 200.0,
        "stopped: the first commit takes": LEASE * 1000,
    }
    return [Finding(what, value, targets.get(what), unit="ms") for what, value in details.items()]


def _share(share: float) -> Finding:
    return Finding("share of the objects that a 4th node takes over", Spread(share, share, share), unit="")


def _killed(site: sites.Site, oids: list[str]) -> dict[str, float]:
    """Kill the third node and write at the first one; then kill it again, and wait until the first one shows it out."""
    taken = {}
    site[2].kill()
    taken["killed: a commit that begins at once takes"] = sites.run(site[0], commit, oids=oids[:1], commits=1)
    site.start(site[2])
    number = site[2].http.stats()["incarnation"]
    begin = time.perf_counter()
    site[2].kill()
    wait_for(lambda: not _is_in(site[0], number), "the first node to know")
    taken["killed: another node shows it out after"] = (time.perf_counter() - begin) * 1000
    site.start(site[2])
    return taken


def _stopped(site: sites.Site, oids: list[str]) -> dict[str, float]:
    """Stop the third node and write twice at the first one; then let it go on until it serves."""
    site[2].pause()
    first = sites.run(site[0], commit, oids=oids[:1], commits=1)
    second = sites.run(site[0], commit, oids=oids[:1], commits=1)
    site[2].resume()
    begin = time.perf_counter()
    # It may not know yet that it was marked out.
    wait_for(lambda: _is_whole(site), "all to serve")
    return {
        "stopped: the first commit takes": first,
        "stopped: the next commit takes": second,
        "continued: all serve again after": (time.perf_counter() - begin) * 1000,
    }


def _joined(site: sites.Site, oids: list[str]) -> float:
    """Return the share of objects that a fourth node loads, all of which the others have in memory."""
    for node in site.nodes[:3]:
        sites.run(node, read_all, oids=oids)
    site.start(site[3])
    sites.run(site[3], read_all, oids=oids)
    return float(site[3].http.stats()["local_loads"]) / len(oids)


def _is_in(node: Node, number: int) -> bool:
    return any(row["incarnation"] == number and row["state"] == "in" for row in node.http.stats()["members"])


def _is_whole(site: sites.Site) -> bool:
    """Return whether all three serve, and each shows the two others in."""
    every = [node.http.stats() for node in site.nodes[:3]]
    running = {stats["incarnation"] for stats in every}
    for stats in every:
        known = {row["incarnation"] for row in stats["members"] if row["state"] == "in"}
        if not stats["serving"] or not known | {stats["incarnation"]} >= running:
            return False
    return True


# --- inside of a node


async def read_all(oids: list[str]) -> None:
    """Read objects through the cache."""
    from guillotina_groupcache import keys
    from guillotina_groupcache.interfaces import IGroupcacheUtility

    utility: Any = get_utility(IGroupcacheUtility)
    await utility.reads.get_many([keys.encode(agent.DATABASE, keys.Kind.OBJECT, oid) for oid in oids])


if __name__ == "__main__":
    command.main(__name__)
