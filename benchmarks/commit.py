"""A commit of one changed object at one of three nodes, beside contrib with Redis, and its announcement's share.

Measured is `Transaction.commit`: the statements that write, the announcement to the others and their acknowledgement
(ours only), COMMIT, and what either cache does before it returns. PostgreSQL runs without fsync here, so that the
cache's part weighs more than it would with a disk. `details`: milliseconds of each side.

Another site of ours has no triggers, and no mark in its transactions, to measure what these cost a commit (R14).
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from typing import Any

from guillotina.component import get_utility

from benchmarks.lib import agent, command, content, sites
from benchmarks.lib.pairs import by_turns, ratio, spread
from benchmarks.lib.redis_server import running_redis
from benchmarks.lib.report import Answer, Finding
from harness.postgres_server import PostgresServer

OBJECTS = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=40, help="times that each side is measured")
    parser.add_argument("--commits", type=int, default=OBJECTS, help="commits in a round")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    planted = content.Content(postgres, {"folder": OBJECTS})
    announcements: list[float] = []
    with (
        running_redis() as redis,
        sites.groupcache(planted.copy(), 3) as ours,
        sites.groupcache(planted.copy(), 3) as unnoted,
        sites.contrib(planted.copy(), 3, redis) as with_redis,
        sites.uncached(planted.copy(), 3) as none,
    ):
        oids = sites.run(none[0], content.oids, folder="folder")
        for node in unnoted:
            sites.run(node, without_notes)

        def measure_ours() -> float:
            taken, announced = sites.run(ours[0], commit_announced, oids=oids, commits=options.commits)
            announcements.append(announced)
            return float(taken)

        measured = by_turns(
            {
                "ours": measure_ours,
                "ours without triggers": partial(sites.run, unnoted[0], commit, oids=oids, commits=options.commits),
                "contrib Redis": partial(sites.run, with_redis[0], commit, oids=oids, commits=options.commits),
                "no cache": partial(sites.run, none[0], commit, oids=oids, commits=options.commits),
            },
            options.rounds,
        )
        time.sleep(1)  # contrib notifies other nodes later
        written = {str(sites.run(site[1], titles, oids=oids)) for site in (ours, unnoted, with_redis, none)}
        assert len(written) == 1, "all sides wrote the same, and another node reads it"
    measured["announcement"] = announcements[1:]
    return _answer(measured)


def _answer(measured: dict[str, list[float]]) -> Answer:
    details = {name: spread(values) for name, values in measured.items()}
    ours = details["ours"].median
    findings = [
        Finding(
            f"commit at one of 3 nodes, beside {theirs}",
            ratio(measured["ours"], measured[theirs]),
            target,
            ours=ours,
            theirs=details[theirs].median,
            sides_unit="ms",
        )
        for theirs, target in (("contrib Redis", 1.1), ("no cache", None), ("ours without triggers", 1.03))
    ]
    findings.append(Finding("announcement to 2 others", details["announcement"], 0.3, unit="ms"))
    return Answer(findings, details)


# --- inside of a node


async def commit(oids: list[str], commits: int) -> float:
    """Return the median milliseconds of a commit that changes one object; its title counts the rounds."""
    taken = []
    manager = agent.transaction_manager()
    for number in range(commits):
        transaction = await manager.begin()
        with transaction:
            item = await transaction.get(oids[number % len(oids)])
            item.title = f"{item.title}+"
            item.register()
            begin = time.perf_counter()
            await manager.commit(txn=transaction)
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken) * 1000


async def commit_announced(oids: list[str], commits: int) -> list[float]:
    """Return the same, and the median milliseconds for which a commit waits for its announcement."""
    from guillotina_groupcache.interfaces import IGroupcacheUtility

    utility: Any = get_utility(IGroupcacheUtility)
    announce = utility.events.announce
    waited: list[float] = []

    async def timed(*arguments: Any) -> Any:
        begin = time.perf_counter()
        event = await announce(*arguments)
        waited.append(time.perf_counter() - begin)
        return event

    utility.events.announce = timed
    try:
        taken = await commit(oids, commits)
    finally:
        utility.events.announce = announce
    return [taken, statistics.median(waited) * 1000]


async def without_notes() -> None:
    """Make this node mark no transaction, and remove the triggers that note writes without a mark."""
    from guillotina_groupcache.database import triggers
    from guillotina_groupcache.interfaces import IGroupcacheUtility

    utility: Any = get_utility(IGroupcacheUtility)
    for database in utility.members._databases:
        database.outside.end()
        database.outside.serve("")
        storage = database.outside._storage
        async with storage.pool.acquire() as connection, connection.transaction():
            for statement in triggers.uninstall(storage._db_schema, storage.objects_table_name):
                await connection.execute(statement)


async def titles(oids: list[str]) -> list[str]:
    """Return the titles of objects, as this node reads them."""
    async with agent.read_only() as transaction:
        return [(await transaction.get(oid)).title for oid in oids]


if __name__ == "__main__":
    command.main(__name__)
