"""Where the time of a hot hit, a peer hit, a cold load and a commit goes: µs between moments on its way.

This is no benchmark with a target but a profile, to be read before a change. `MOMENTS` names the functions whose begins
and ends are recorded while one read after the other is made in a node; everything between two moments, also in a thread
of Go or in another process, is one stage. `details`: by case, the stages in order with their medians.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from guillotina.utils import resolve_dotted_name

from benchmarks import peer_read
from benchmarks.lib import agent, command, content, sites
from benchmarks.lib.pairs import Spread
from benchmarks.lib.report import Answer, Finding
from harness.postgres_server import PostgresServer

#: By case, the dotted names of the methods and functions that are watched.
MOMENTS: Final = {
    "hot hit, first from Go": [
        "guillotina_groupcache.strategy.GroupcacheStrategy.get",
        "guillotina_groupcache.reads.Reads.get",
        "guillotina_groupcache.native.Node.get",
        "guillotina_groupcache.records.decode",
    ],
    "near hit": ["guillotina_groupcache.strategy.GroupcacheStrategy.get"],
    "peer hit": [
        "guillotina_groupcache.reads.Reads.get",
        "guillotina_groupcache.native.Node.get",
        "guillotina_groupcache.completions.Completions.take",
        "guillotina_groupcache.records.decode",
    ],
    "cold load": [
        "guillotina_groupcache.reads.Reads.get",
        "guillotina_groupcache.native.Node.get",
        "guillotina_groupcache.completions.Completions.take",
        "guillotina_groupcache.database.loader.Loader.load",
        "guillotina.db.storages.pg.PostgresqlStorage.load",
        "guillotina_groupcache.native.Node.loaded",
        "guillotina_groupcache.records.decode",
    ],
    "commit": [
        "guillotina.db.transaction.Transaction.tpc_commit",
        "guillotina.db.transaction.Transaction.tpc_vote",
        "guillotina_groupcache.changes.Writes.changes",
        "guillotina_groupcache.events.Events.announce",
        "guillotina_groupcache.native.Node.announce",
        "guillotina_groupcache.completions.Completions.take",
        "guillotina_groupcache.changes.Writes.pushes",
        "guillotina_groupcache.events.Events.settle",
        "guillotina_groupcache.strategy.GroupcacheStrategy.close",
    ],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reads", type=int, default=300, help="of each case")
    parser.add_argument("--unix", action="store_true", help="over unix sockets instead of TCP with TLS")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    reads = options.reads
    planted = content.Content(postgres, {"folder": reads * 12})
    with sites.groupcache(planted.copy(), 2, unix=options.unix) as site:
        oids = sites.run(site[0], content.oids, folder="folder")
        warm, cold = oids[: reads * 6], oids[reads * 6 :]
        own = sites.run(site[0], peer_read.owned, oids=warm[: reads * 3])
        others = sites.run(site[1], peer_read.owned, oids=warm[reads * 3 :])
        cases = {
            "hot hit, first from Go": sites.run(
                site[0], stages_of_reads, case="hot hit, first from Go", oids=own[:reads]
            ),
            "near hit": sites.run(site[0], stages_of_reads, case="near hit", oids=own[:reads]),
            "peer hit": sites.run(site[0], stages_of_reads, case="peer hit", oids=others[:reads]),
            "cold load": sites.run(site[0], stages_of_reads, case="cold load", oids=cold),
            "commit": sites.run(site[0], stages_of_commits, oids=own[:reads]),
        }
    findings = [
        Finding(f"{case}: {name}", Spread(*[taken] * 3), unit="µs")
        for case, rows in cases.items()
        for name, taken in rows
    ]
    return Answer(findings, cases)


# --- inside of a node

Moment = tuple[str, int]


async def stages_of_reads(case: str, oids: list[str]) -> list[tuple[str, float]]:
    """Return the stages of a read by `Transaction._get`."""
    async with agent.read_only() as transaction:

        async def read(oid: str) -> None:
            await transaction._get(oid)

        return await _stages(case, read, oids)


async def stages_of_commits(oids: list[str]) -> list[tuple[str, float]]:
    """Return the stages of a commit that changes one object."""
    manager = agent.transaction_manager()
    transactions = []
    for oid in oids:
        transaction = await manager.begin()
        with transaction:
            item = await transaction.get(oid)
            item.title = f"{item.title}+"
            transaction.register(item)
        transactions.append((transaction, item))

    async def commit(number: str) -> None:
        transaction, _ = transactions[int(number)]
        with transaction:
            await manager.commit(txn=transaction)

    return await _stages("commit", commit, [str(number) for number in range(len(oids))])


async def _stages(case: str, do: Callable[[str], Awaitable[None]], names: list[str]) -> list[tuple[str, float]]:
    runs: list[list[Moment]] = []
    moments: list[Moment] = []
    with _recorded(MOMENTS[case], moments):
        for name in names:
            moments.clear()
            begin = time.perf_counter_ns()
            await do(name)
            runs.append([("begin", begin), *moments, ("end", time.perf_counter_ns())])
    # Only runs with the usual moments, as nearly all have: others met a background task, or an object of another kind.
    ways = Counter(tuple(name for name, _ in run) for run in runs)
    usual, _ = ways.most_common(1)[0]
    alike = [run for run in runs if tuple(name for name, _ in run) == usual]
    rows = [(f"total ({len(alike)} of {len(runs)})", _median([run[-1][1] - run[0][1] for run in alike]))]
    for at in range(len(usual) - 1):
        name = f"{usual[at]} → {usual[at + 1]}"
        rows.append((name, _median([run[at + 1][1] - run[at][1] for run in alike])))
    return rows


def _median(nanoseconds: list[int]) -> float:
    return statistics.median(nanoseconds) / 1000


@contextmanager
def _recorded(names: list[str], moments: list[Moment]) -> Iterator[None]:
    """Record when these functions begin and end within the block."""
    originals = []
    for name in names:
        owner, _, attribute = name.rpartition(".")
        place: Any = resolve_dotted_name(owner)
        originals.append((place, attribute, getattr(place, attribute)))
        setattr(place, attribute, _recording(getattr(place, attribute), attribute, moments))
    try:
        yield
    finally:
        for place, attribute, original in originals:
            setattr(place, attribute, original)


def _recording(function: Any, name: str, moments: list[Moment]) -> Any:
    now = time.perf_counter_ns

    @functools.wraps(function)
    def recorded(*arguments: Any, **named: Any) -> Any:
        moments.append((f"{name}(", now()))
        try:
            return function(*arguments, **named)
        finally:
            moments.append((f"){name}", now()))

    @functools.wraps(function)
    async def recorded_coroutine(*arguments: Any, **named: Any) -> Any:
        moments.append((f"{name}(", now()))
        try:
            return await function(*arguments, **named)
        finally:
            moments.append((f"){name}", now()))

    return recorded_coroutine if inspect.iscoroutinefunction(function) else recorded


if __name__ == "__main__":
    command.main(__name__)
