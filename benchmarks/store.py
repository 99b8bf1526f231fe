"""The store with a million entries of 1 KB and 5,000 new ones per second: reads, pauses of Python, memory.

One process holds a thousand entries, another a million, which it gets as it gets loads, through its own thread. That
thread looks up random keys; measured are those calls, and the longest of them in a second, beside the longest pause of
a loop that only reads the clock. The two take turns, and so do reading and idling.
Then a third process gets values of 200 bytes to 200 KB, several times its size.
`details`: nanoseconds of a lookup, milliseconds of the longest calls (inserting: of those that add entries), and the
bytes by the operating system and by the store's own count.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import psutil

from benchmarks.lib import command, content, sites
from benchmarks.lib.entries import VALUE, Entries, Growth, key_of, value_of
from benchmarks.lib.pairs import Spread, by_turns, difference, ratio, spread
from benchmarks.lib.report import Answer, Finding
from harness.node import Node
from harness.postgres_server import PostgresServer

SMALL: Final = 1000
#: Bytes that a store counts for an entry, at most.
ENTRY: Final = 1350
#: `size` by the part of it for owned values; the rest is for the versions, hot copies and near entries.
FOR_OTHER_USES: Final = 1.5
#: Entries that one call into a node adds, so that the node can handle the members table in between.
CALL: Final = 20_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the large store, at least")
    parser.add_argument("--new", type=int, default=5000, help="entries per second that it gets meanwhile")
    parser.add_argument("--rounds", type=int, default=15, help="times that each is measured")
    parser.add_argument("--mixed", type=int, default=256, help="MB of the process whose values differ in size")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    planted = content.Content(postgres, {"folder": 1})
    details: dict[str, Any] = {}
    size = int(options.entries * ENTRY * FOR_OTHER_USES)
    with sites.groupcache(planted.copy(), 1) as small, sites.groupcache(planted.copy(), 1, size=size) as large:
        empty = _memory(large[0])
        sites.run(small[0], fill, first=0, count=SMALL)
        last = _filled(large[0])
        assert large[0].http.stats()["main"]["items"] >= options.entries, "the large store is large"
        details |= _measure(small[0], large[0], last, options)
        details["memory"] = _memory_beside_store(large[0], empty)
    with sites.groupcache(planted.copy(), 1, size=options.mixed * 10**6) as mixed:
        empty = _memory(mixed[0])
        for number in range(40):
            sites.run(mixed[0], fill_mixed, first=number * 10_000, megabytes=options.mixed / 8)
        details["memory, mixed sizes"] = _memory_beside_store(mixed[0], empty)
    return Answer(list(_findings(details, options)), details)


def _filled(node: Node) -> int:
    """Add entries to a process until it is full; return how many were added."""
    for first in itertools.count(0, CALL):
        if node.http.stats()["main"]["evictions"]:
            return first
        sites.run(node, fill, first=first, count=CALL)
    raise AssertionError


def _measure(small: Node, large: Node, last: int, options: argparse.Namespace) -> dict[str, list[float]]:
    first = last // 2  # the earlier ones are evicted for the new ones
    new = itertools.count(last, CALL)
    inserting: list[float] = []

    def growing(function: Any, first: int, last: int) -> Any:
        return sites.run(large, function, first=first, last=last, new=next(new), pace=options.new)

    def stop() -> float:
        reading, bringing = growing(longest_stop, first, last)
        inserting.append(bringing)
        return float(reading)

    measured = by_turns(
        {
            "read, a thousand": partial(sites.run, small, read, first=0, last=SMALL),
            "read, a million, a thousand of them": partial(growing, read, first, first + SMALL),
            "read, a million, any": partial(growing, read, first, last),
            "stop, reading": stop,
            "stop, idle": partial(sites.run, large, longest_pause),
        },
        options.rounds,
    )
    return {**measured, "stop, inserting": inserting[1:]}


def _findings(details: dict[str, Any], options: argparse.Namespace) -> Iterator[Finding]:
    few = details["read, a thousand"]
    for which, name, target in (
        ("hot ones", "read, a million, a thousand of them", 1.15),
        ("any", "read, a million, any", None),
    ):
        yield Finding(
            f"read with {options.entries:,} entries, {which}, beside {SMALL:,}",
            ratio(details[name], few),
            target,
            ours=spread(details[name]).median / 1000,
            theirs=spread(few).median / 1000,
            sides_unit="µs",
        )
    reading, idle = details["stop, reading"], details["stop, idle"]
    yield Finding(
        f"longest stop of Python, {options.new:,} new entries/s, beyond idle",
        difference(reading, idle),
        1,
        "ms",
        ours=max(reading),
        theirs=max(idle),
        sides_unit="ms",
    )
    for which, name, target in (
        (f"{options.entries:,} × 1 KB", "memory", 1.15),
        ("200 bytes to 200 KB", "memory, mixed sizes", 1.25),
    ):
        memory = details[name]
        yield Finding(
            f"memory beside what the store counts, {which}",
            Spread(*[memory["taken"] / memory["counted"]] * 3),
            target,
            ours=memory["taken"] / 1e6,
            theirs=memory["counted"] / 1e6,
            sides_unit="MB",
        )


def _memory(node: Node) -> int:
    assert node.process is not None
    return int(psutil.Process(node.process.pid).memory_info().rss)


def _memory_beside_store(node: Node, empty: int) -> dict[str, int]:
    """Return how much more the process takes than when it was empty, and how much its store counts."""
    stats = node.http.stats()
    assert stats["main"]["evictions"], "the store is full"
    return {"taken": _memory(node) - empty, "counted": stats["main"]["bytes"] + stats["hot"]["bytes"]}


# --- inside of a node


async def fill(first: int, count: int) -> None:
    """Add entries with the numbers from `first` on."""
    entries = Entries()
    for at in range(first, first + count, 500):
        entries.add({key_of(number): value_of(VALUE) for number in range(at, min(at + 500, first + count))})


async def fill_mixed(first: int, megabytes: float) -> None:
    """Add values of 200 bytes to 200 KB, as many small ones as large ones."""
    entries, chance, left = Entries(), random.Random(first), megabytes * 1e6
    for at in itertools.count(first, 10):
        sizes = [int(200 * 1000 ** chance.random()) for _ in range(10)]
        entries.add({key_of(at + i): value_of(size) for i, size in enumerate(sizes)})
        left -= sum(sizes)
        if left < 0:
            return


async def read(first: int, last: int, new: int = 0, pace: int = 0, seconds: float = 0.2) -> float:
    """Return the median nanoseconds of a lookup of a random key, while entries are added from the number `new` on."""
    growth, taken, found = Growth(new, pace), [], 0
    lookup, wanted = Entries().node.get, _random_keys(first, last)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        some = list(itertools.islice(wanted, 100))
        begin = time.perf_counter_ns()
        for key in some:
            found += isinstance(lookup(key), tuple)
        taken.append((time.perf_counter_ns() - begin) / len(some))
        growth.turn()
    assert found > 90 * len(taken), "what is read is there"
    return sorted(taken)[len(taken) // 2]


async def longest_stop(first: int, last: int, new: int, pace: int, seconds: float = 1.0) -> list[float]:
    """Return the milliseconds of the longest lookup in some time, and of the longest call that adds entries."""
    growth, longest = Growth(new, pace), 0
    lookup, wanted, now = Entries().node.get, _random_keys(first, last), time.perf_counter_ns
    end = now() + int(seconds * 1e9)
    while now() < end:
        for key in itertools.islice(wanted, 500):
            begin = now()
            lookup(key)
            taken = now() - begin
            if taken > longest:
                longest = taken
        growth.turn()
    return [longest / 1e6, growth.longest * 1000]


async def longest_pause(seconds: float = 1.0) -> float:
    """Return the milliseconds of the longest pause of a loop that only reads the clock."""
    longest, now = 0, time.perf_counter_ns
    before = now()
    end = before + int(seconds * 1e9)
    while before < end:
        moment = now()
        if moment - before > longest:
            longest = moment - before
        before = moment
    return longest / 1e6


def _random_keys(first: int, last: int) -> Iterator[bytes]:
    keys = [key_of(number) for number in random.sample(range(first, last), min(last - first, CALL))]
    return itertools.cycle(keys)


if __name__ == "__main__":
    command.main(__name__)
