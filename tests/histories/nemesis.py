"""Who makes the faults of a run: which ones, and when, follows from a seed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.histories.faults import (
    Cut,
    CutFromDatabase,
    DatabaseRestarted,
    Fault,
    Killed,
    Restarted,
    Stopped,
    between,
    both_ways,
)
from tests.histories.network import DATABASE
from tests.histories.site import Site

#: Seconds between faults, and of the quiet after every few of them.
PAUSE = (0.3, 1.5)
QUIET = 5.0
QUIET_EVERY = 4
#: How often two faults overlap.
OVERLAP = 0.35
#: Seconds after a fault until the site counts as calm: a lease, and the time to join again.
CALM_AFTER = 4.0


@dataclass
class Window:
    """The time of a fault, in nanoseconds of the monotonic clock; `end` is None as long as it is not repaired."""

    fault: Fault
    begin: int
    end: int | None = None

    def meets(self, begin: int, end: int, longer: float = 0.0) -> bool:
        """Whether it overlaps with some time, or did within `longer` seconds before."""
        return begin <= (end if self.end is None else self.end + longer * 1e9) and end >= self.begin


def deck(choice: random.Random, nodes: int, restartable: bool) -> list[Fault]:
    """One fault of each kind, in any order, at any nodes."""
    numbers = list(range(1, nodes + 1))

    def some() -> list[int]:
        return choice.sample(numbers, nodes)

    def one() -> int:
        return choice.choice(numbers)

    one_side, other_side = (side := some())[: nodes // 2], side[nodes // 2 :]
    cut = {
        f"node{(pair := some())[0]} and node{pair[1]} cut off from each other": both_ways(*pair[:2]),
        f"{_names(one_side)} | {_names(other_side)}": between(one_side, other_side),
        f"nothing from node{(way := some())[0]} to node{way[1]}": ((way[0], way[1]),),
        f"nothing from node{(mute := some())[0]} to anybody": tuple((mute[0], other) for other in mute[1:]),
    }
    lone = one()
    faults: list[Fault] = [
        # Less than a commit waits before it marks a node out, more than that, and longer than a lease.
        *(Stopped(choice.uniform(*seconds), one()) for seconds in ((0.03, 0.09), (0.15, 1.0), (3.5, 7.0))),
        *(Killed(choice.uniform(*seconds), one()) for seconds in ((0.0, 0.1), (1.0, 4.0))),
        Restarted(0.0, one()),
        *(Cut(choice.uniform(1.0, 6.0), ways, how) for how, ways in cut.items()),
        CutFromDatabase(choice.uniform(1.0, 6.0), both_ways(lone, DATABASE), f"node{lone} cut off from PostgreSQL"),
    ]
    if restartable:
        faults += [DatabaseRestarted(choice.uniform(0.0, 2.0), mode) for mode in ("fast", "immediate")]
    choice.shuffle(faults)
    return faults


def _names(numbers: list[int]) -> str:
    return ", ".join(f"node{number}" for number in sorted(numbers))


def steps(choice: random.Random, faults: list[Fault]) -> Iterator[tuple[float, list[Fault]]]:
    """What is made at once, now and then two faults, and the seconds before it."""
    faults = list(faults)
    number = 0
    while faults:
        step = [faults.pop(0)]
        if choice.random() < OVERLAP:
            others = [fault for fault in faults if fault.needs != step[0].needs]
            if others:
                faults.remove(others[0])
                step.append(others[0])
        yield (QUIET if number % QUIET_EVERY == 0 else 0.0) + choice.uniform(*PAUSE), step
        number += 1


class Nemesis:
    """Makes faults, and keeps their times in `windows`."""

    def __init__(self, site: Site, seed: int, tell: Callable[[str], None]) -> None:
        """`tell` is given a line when a fault begins and when it is repaired."""
        self.windows: list[Window] = []
        self._site = site
        self._choice = random.Random(seed)
        self._tell = tell
        self._begin = time.monotonic()
        self._locks = {needs: asyncio.Lock() for needs in (Killed.needs, Cut.needs, DatabaseRestarted.needs)}

    @property
    def calm(self) -> bool:
        """Whether nothing is wrong, and nothing was for a while."""
        now = time.monotonic_ns()
        return not any(window.meets(now, now, CALM_AFTER) for window in self.windows)

    async def run(self, seconds: float) -> None:
        """Make one fault of each kind, and again, until that many seconds have passed."""
        end = time.monotonic() + seconds
        while True:
            faults = deck(self._choice, len(self._site.nodes), self._site.network.restartable is not None)
            for pause, step in steps(self._choice, faults):
                await asyncio.sleep(pause)
                delay = self._choice.uniform(0, 2)
                await asyncio.gather(*(self._later(fault, delay * number) for number, fault in enumerate(step)))
            if time.monotonic() > end:
                return

    async def _later(self, fault: Fault, delay: float) -> None:
        await asyncio.sleep(delay)
        await self.make(fault)

    async def make(self, fault: Fault, since: int | None = None) -> None:
        """Make one fault and repair it. One that was there before is given the time `since` when."""
        window = Window(fault, since or time.monotonic_ns())
        self.windows.append(window)
        async with self._locks[fault.needs]:
            if since is None:
                window.begin = time.monotonic_ns()
            self._say(f"{fault}")
            try:
                await asyncio.to_thread(fault.begin, self._site)
                await asyncio.sleep(fault.seconds)
            finally:
                await asyncio.to_thread(fault.end, self._site)
        window.end = time.monotonic_ns()
        self._say(f"repaired: {fault}")

    def _say(self, line: str) -> None:
        self._tell(f"{time.monotonic() - self._begin:7.2f} s  {line}")
