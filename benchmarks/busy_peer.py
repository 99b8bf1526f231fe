"""A peer whose Python is busy for a second: does it delay a commit at another node, and how soon does it learn of it?

The busy node looks up one key without a break, so that its event loop does nothing, and sees to the microsecond when
the key is in doubt there; another node changes that object meanwhile. Beside it: when contrib's nodes, whose event loop
has to do it, receive the invalidation over Redis.
`details`: milliseconds from the announcement to the last acknowledgement, from the answer to COMMIT to the settlement
at the peer, and of the doubt there beyond the commit's own time.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from guillotina.component import get_utility
from guillotina.interfaces import ICacheUtility

from benchmarks.lib import agent, command, content, sites
from benchmarks.lib.pairs import spread
from benchmarks.lib.redis_server import running_redis
from benchmarks.lib.report import Answer, Finding
from harness.postgres_server import PostgresServer

BUSY_SECONDS = 1.0
#: Seconds at the begin and the end of the busy second, between which the commits are made.
MARGIN = 0.2
PAUSE = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=10, help="seconds that the peer is busy for, one by one")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    planted = content.Content(postgres, {"folder": 1})
    with running_redis() as redis, sites.contrib(planted.copy(), 2, redis) as site:
        theirs = _theirs(site, options.rounds)
    with sites.groupcache(planted.copy(), 3) as site:
        ours = _ours(site, options.rounds)
    details = {name: spread([commit[name] for commit in ours]) for name in ours[0]}
    details["contrib settled"] = spread(theirs)

    def finding(what: str, name: str, target: float, theirs: float | None = None) -> Finding:
        return Finding(what, details[name], target, "ms", ours=details[name].median, theirs=theirs, sides_unit="ms")

    return Answer(
        [
            finding("busy peer: all have acknowledged a commit after", "acknowledged", 5),
            finding("busy peer: it has settled after COMMIT by", "settled", 5, details["contrib settled"].median),
            finding("busy peer: time in doubt beyond the commit's own", "doubt", 1),
        ],
        details,
    )


def _ours(site: sites.Site, rounds: int) -> list[dict[str, float]]:
    """Return the milliseconds of commits that are made while a peer is busy."""
    (oid,) = sites.run(site[0], content.oids, folder="folder")
    found = []
    for _ in range(rounds):
        with _busy(site[1], watch_doubt, oid=oid) as watching:
            commits = sites.run(site[0], commits_watched, oid=oid, seconds=BUSY_SECONDS - 2 * MARGIN)
        doubts = watching.result()
        for announced, cleared, committed in commits:
            # Where the machine gave the peer no processor time, its watch began late, or saw nothing.
            seen = [(begin, end) for begin, end in doubts if announced <= begin <= cleared]
            for begin, end in seen:
                assert end >= committed, "in doubt until the answer to COMMIT has come"
                found.append(
                    {
                        "acknowledged": (cleared - announced) / 1e6,
                        "settled": (end - committed) / 1e6,
                        "doubt": (end - begin - (committed - cleared)) / 1e6,
                    }
                )
    assert len(found) > rounds, "the doubt of most commits was seen at the peer"
    return found


def _theirs(site: sites.Site, rounds: int) -> list[float]:
    """Return the milliseconds from a commit until a node that is busy for a second learns of it."""
    (oid,) = sites.run(site[0], content.oids, folder="folder")
    sites.run(site[1], watch_invalidations)
    taken = []
    for _ in range(rounds):
        with _busy(site[1], compute):
            committed = sites.run(site[0], commit, oid=oid)
        heard = sites.run(site[1], last_invalidation, after=committed)
        taken.append((heard - committed) / 1e6)
    return taken


@contextmanager
def _busy(node: Any, function: Callable[..., Any], **arguments: Any) -> Iterator[Future[Any]]:
    """Keep the node's Python busy with a function during the block; it has ended when the block is left."""
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(sites.run, node, function, **arguments)
        time.sleep(MARGIN)
        yield running


# --- inside of a node; moments are nanoseconds of the clock that all processes share


async def compute() -> None:
    """Keep the event loop busy."""
    end = time.monotonic() + BUSY_SECONDS
    while time.monotonic() < end:
        pass


async def watch_doubt(oid: str) -> list[tuple[int, int]]:
    """Keep the event loop busy; return the begin and the end of each time that an object was in doubt."""
    from guillotina_groupcache import keys
    from guillotina_groupcache.constants import Missed
    from guillotina_groupcache.interfaces import IGroupcacheUtility

    utility: Any = get_utility(IGroupcacheUtility)
    lookup, key = utility._node.get, keys.encode(agent.DATABASE, keys.Kind.OBJECT, oid)
    now = time.monotonic_ns
    last, begin, found = now(), 0, []
    end = last + int(BUSY_SECONDS * 1e9)
    while last < end:
        in_doubt = lookup(key) is Missed.BYPASS
        last = now()
        if in_doubt and not begin:
            begin = last
        elif begin and not in_doubt:
            found.append((begin, last))
            begin = 0
    return found


async def commit(oid: str) -> int:
    """Change an object; return the moment of the commit."""
    manager = agent.transaction_manager()
    transaction = await manager.begin()
    with transaction:
        item = await transaction.get(oid)
        item.title = f"{item.title}+"
        item.register()
        await manager.commit(txn=transaction)
    return time.monotonic_ns()


async def commits_watched(oid: str, seconds: float) -> list[tuple[int, int, int]]:
    """Commit for some seconds; return when each was announced, cleared, and answered by the database."""
    from guillotina_groupcache.interfaces import IGroupcacheUtility

    utility: Any = get_utility(IGroupcacheUtility)
    announce, settle = utility.events.announce, utility.events.settle
    moments: list[int] = []

    async def timed_announce(*arguments: Any) -> Any:
        moments.append(time.monotonic_ns())
        event = await announce(*arguments)
        moments.append(time.monotonic_ns())
        return event

    def timed_settle(*arguments: Any) -> Any:
        moments.append(time.monotonic_ns())
        return settle(*arguments)

    utility.events.announce, utility.events.settle = timed_announce, timed_settle
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            await commit(oid)
            await asyncio.sleep(PAUSE)
    finally:
        utility.events.announce, utility.events.settle = announce, settle
    return list(zip(moments[::3], moments[1::3], moments[2::3], strict=True))


_heard: list[int] = []


async def watch_invalidations() -> None:
    """Record when contrib learns of writes."""
    utility: Any = get_utility(ICacheUtility)
    invalidate: Callable[..., Any] = utility.invalidate

    async def recorded(**arguments: Any) -> Any:
        _heard.append(time.monotonic_ns())
        return await invalidate(**arguments)

    for callbacks in utility._subscriber._subscribers.values():
        callbacks[utility._uid] = recorded


async def last_invalidation(after: int) -> int:
    """Return when this node learned of the first write after a moment."""
    while not _heard or _heard[-1] < after:
        await asyncio.sleep(0.01)
    return next(moment for moment in _heard if moment >= after)


if __name__ == "__main__":
    command.main(__name__)
