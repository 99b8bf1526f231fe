"""Go's store with a million entries of 1 KB and 5,000 new ones a second: reads, stops of Python, memory.

Two sites of one owner each: one holds a thousand entries, one a million. A client of the second gives it new values all
the time, as commits do, which takes none of the owner's Python. The owners look random keys up, by turns, in the
thread of their event loop; stops are the longest pauses of that loop, beside one that only reads the clock.
Then a third site is given values of 200 bytes to 200 KB, several times its size.
`details`: nanoseconds of a read, milliseconds of the longest stops, and the bytes that memory and store count.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import psutil
from guillotina.component import get_utility

from benchmarks.lib import agent, command, content, sites
from benchmarks.lib.pairs import Spread, by_turns, difference, ratio, spread
from benchmarks.lib.report import Answer, Finding
from demo.cluster import Node, wait_for
from tests.postgres import PostgresServer

SMALL: Final = 1000
VALUE: Final = 1000
BATCH: Final = 100
#: Bytes that a store counts for an entry, at most.
ENTRY: Final = 1350
#: `size` beside what values may take of it: the table of versions, copies of others' values, decoded records.
FOR_OTHER_USES: Final = 1.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the large store")
    parser.add_argument("--new", type=int, default=5000, help="entries a second that it gets meanwhile")
    parser.add_argument("--rounds", type=int, default=15, help="times that each is measured")
    parser.add_argument("--mixed", type=int, default=256, help="MB of the store whose values differ in size")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    planted = content.Content(postgres, {"folder": 1})
    result = Answer()
    size = int(options.entries * ENTRY * FOR_OTHER_USES)
    with (
        sites.groupcache(planted.copy(), 2, clients=1) as small,
        sites.groupcache(planted.copy(), 2, clients=1, size=size) as large,
    ):
        empty = _memory(large[0])
        _fill(small, SMALL)
        given = _fill(large, 2 * options.entries)
        assert large[0].http.stats()["main"]["items"] >= options.entries, "the large store is large"
        with _growing(large[1], given, options.new):
            result.details.update(_measure(small[0], large[0], given, options.rounds))
        result.details["memory"] = _memory_beside_store(large[0], empty)
    with sites.groupcache(planted.copy(), 2, clients=1, size=options.mixed * 10**6) as mixed:
        empty = _memory(mixed[0])
        for number in range(40):
            sites.run(mixed[1], give_mixed, first=number * 10_000, megabytes=options.mixed / 8)
        result.details["memory, mixed sizes"] = _memory_beside_store(mixed[0], empty)
    result.findings = _findings(result.details, options)
    return result


def _fill(site: sites.Site, count: int) -> int:
    """Give the owner entries until it has so many, or is full; how many it was given."""
    owner, client = site.nodes
    given = 0
    while given < count and not owner.http.stats()["main"]["evictions"]:
        more = min(20_000, count - given)
        sites.run(client, give, first=given, count=more)
        given += more
        # Where two commits meet in a bucket, the later one's value is not given.
        wait_for(partial(_has_got, owner, given * 99 // 100), f"{owner.name} to have got {given} entries")
    return given


def _has_got(owner: Node, count: int) -> bool:
    main = owner.http.stats()["main"]
    return bool(main["items"] + main["evictions"] >= count)


def _measure(small: Node, large: Node, last: int, rounds: int) -> dict[str, list[float]]:
    # The first half of the entries makes room for the new ones.
    return by_turns(
        {
            "read, a thousand": partial(sites.run, small, read, first=0, last=SMALL),
            "read, a million, a thousand of them": partial(sites.run, large, read, first=last - SMALL, last=last),
            "read, a million, any": partial(sites.run, large, read, first=last // 2, last=last),
            "stop, reading": partial(sites.run, large, longest_stop, first=last // 2, last=last),
            "stop, idle": partial(sites.run, large, longest_stop, first=0, last=0),
        },
        rounds,
    )


def _findings(details: dict[str, Any], options: argparse.Namespace) -> list[Finding]:
    few = details["read, a thousand"]
    findings = [
        Finding(
            f"read with {options.entries:,} entries, {which}, beside {SMALL:,}",
            ratio(details[name], few),
            target,
            ours=spread(details[name]).median / 1000,
            theirs=spread(few).median / 1000,
            sides_unit="µs",
        )
        for which, name, target in (
            ("hot ones", "read, a million, a thousand of them", 1.15),
            ("any", "read, a million, any", None),
        )
    ]
    reading, idle = details["stop, reading"], details["stop, idle"]
    findings.append(
        Finding(
            f"longest stop of Python, {options.new:,} new entries/s, beyond idle",
            difference(reading, idle),
            1,
            "ms",
            ours=max(reading),
            theirs=max(idle),
            sides_unit="ms",
        )
    )
    for which, name, target in (
        (f"{options.entries:,} × 1 KB", "memory", 1.15),
        ("200 bytes to 200 KB", "memory, mixed sizes", 1.25),
    ):
        memory = details[name]
        findings.append(
            Finding(
                f"memory beside what the store counts, {which}",
                Spread(*[memory["taken"] / memory["counted"]] * 3),
                target,
                ours=memory["taken"] / 1e6,
                theirs=memory["counted"] / 1e6,
                sides_unit="MB",
            )
        )
    return findings


def _memory(node: Node) -> int:
    assert node.process is not None
    return int(psutil.Process(node.process.pid).memory_info().rss)


def _memory_beside_store(node: Node, empty: int) -> dict[str, int]:
    """What the process takes more than when it was empty, and what its store counts."""
    stats = node.http.stats()
    assert stats["main"]["evictions"], "the store is full"
    return {"taken": _memory(node) - empty, "counted": stats["main"]["bytes"] + stats["hot"]["bytes"]}


@contextmanager
def _growing(client: Node, first: int, pace: int) -> Iterator[None]:
    """Within the block the client gives new entries, so many a second."""
    ended = threading.Event()

    def grow() -> None:
        for number in itertools.count():
            if ended.is_set():
                return
            sites.run(client, give, first=first + number * pace, count=pace, pace=pace)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# --- inside of a client


async def give(first: int, count: int, pace: float = 0) -> None:
    """Give the owner values, as a commit that has written them does; `pace` is how many a second."""
    begin = time.monotonic()
    for at in range(0, count, BATCH):
        await _give([(_key(first + number), _value(VALUE)) for number in range(at, min(at + BATCH, count))])
        if pace:
            await _until(begin + (at + BATCH) / pace)


async def give_mixed(first: int, megabytes: float) -> None:
    """Give the owner values of 200 bytes to 200 KB, as many small ones as large ones."""
    chance = random.Random(first)
    left, number = int(megabytes * 1e6), first
    while left > 0:
        values = []
        for _ in range(10):
            size = int(200 * 1000 ** chance.random())
            values.append((_key(number), _value(size)))
            number += 1
            left -= size
        await _give(values)


async def _give(values: list[tuple[bytes, bytes]]) -> None:
    utility = _utility()
    event = await utility.announce(agent.DATABASE, [key for key, _ in values])
    utility.settle(event, values)


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


# --- inside of an owner


async def read(first: int, last: int, seconds: float = 0.1) -> float:
    """Nanoseconds of looking up a random key of these."""
    lookup, taken, found = _utility()._node.lookup, [], 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        wanted = [_key(number) for number in random.sample(range(first, last), SMALL)]
        begin = time.perf_counter_ns()
        for key in wanted:
            found += isinstance(lookup(key), tuple)
        taken.append((time.perf_counter_ns() - begin) / SMALL)
    assert found > 0.9 * SMALL * len(taken), "what is read is there"
    return sorted(taken)[len(taken) // 2]


async def longest_stop(first: int, last: int, seconds: float = 1.0) -> float:
    """Milliseconds of the longest pause of a loop that looks random keys up, or, with none, does nothing."""
    lookup, now = _utility()._node.lookup, time.perf_counter_ns
    wanted = [_key(number) for number in random.sample(range(first, last), min(last - first, 10_000))]
    longest, at, before = 0, 0, now()
    end = before + int(seconds * 1e9)
    while before < end:
        if wanted:
            lookup(wanted[at])
            at = (at + 1) % len(wanted)
        moment = now()
        if moment - before > longest:
            longest = moment - before
        before = moment
    return longest / 1e6


def _utility() -> Any:
    from guillotina_groupcache.interfaces import IGroupcacheUtility

    return get_utility(IGroupcacheUtility)


def _key(number: int) -> bytes:
    from guillotina_groupcache import keys

    return keys.encode(agent.DATABASE, keys.Kind.OBJECT, f"{number:032x}")


_random = random.Random(1).randbytes(400_000)


def _value(size: int) -> bytes:
    """Bytes that no two values need to share, and that cost nothing to make."""
    begin = random.randrange(len(_random) - size)
    return _random[begin : begin + size]


if __name__ == "__main__":
    command.main(__name__)
