"""Causes the faults of a run, and records their times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from tests.histories.deck import Deck
from tests.histories.faults import CHANGED, Fault
from tests.histories.site import Site

#: Seconds after a fault until the site counts as calm: a lease, and the time to join again.
CALM_AFTER = 4.0
#: Seconds to wait, before some faults, until all nodes serve.
WHOLE_WITHIN = 10.0


@dataclass
class Window:
    """The time of a fault, in nanoseconds of the monotonic clock; `end` is None as long as it is not repaired."""

    fault: Fault
    begin: int
    end: int | None = None

    def meets(self, begin: int, end: int, longer: float = 0.0) -> bool:
        """Return whether it overlaps with a time, or did within `longer` seconds before."""
        return begin <= (end if self.end is None else self.end + longer * 1e9) and end >= self.begin


class Nemesis:
    """Causes the faults that a deck deals."""

    def __init__(self, site: Site, deck: Deck, say: Callable[[str], None]) -> None:
        """`say` gets a line when a fault begins and when it is repaired."""
        self.windows: list[Window] = []
        self._site, self._deck, self._say = site, deck, say
        self._begin = time.monotonic()
        self._locks = {what: asyncio.Lock() for what in CHANGED}

    @property
    def calm(self) -> bool:
        """Whether nothing is wrong, and nothing has been for a while."""
        now = time.monotonic_ns()
        return not any(window.meets(now, now, CALM_AFTER) for window in self.windows)

    async def run(self, seconds: float) -> None:
        """Cause one fault of each kind, and again, for at least that many seconds."""
        while True:
            for step in self._deck.deal():
                if step.whole:
                    # Whether the site ever becomes whole is checked when all is repaired.
                    with suppress(TimeoutError):
                        await asyncio.to_thread(self._site.wait_whole, WHOLE_WITHIN)
                await asyncio.sleep(step.pause)
                await asyncio.gather(*(self._later(delay, fault) for delay, fault in step.faults))
            if time.monotonic() > self._begin + seconds:
                return

    async def _later(self, delay: float, fault: Fault) -> None:
        await asyncio.sleep(delay)
        await self.make(fault)

    async def make(self, fault: Fault, since: int | None = None) -> None:
        """Cause one fault and repair it; `since` is the time at which it began, if it was there before."""
        async with AsyncExitStack() as held:
            for what in fault.needs:
                await held.enter_async_context(self._locks[what])
            window = Window(fault, since or time.monotonic_ns())
            self.windows.append(window)
            self._report(f"{fault}")
            try:
                await asyncio.to_thread(fault.begin, self._site)
                await asyncio.sleep(fault.seconds)
            finally:
                await asyncio.to_thread(fault.end, self._site)
            window.end = time.monotonic_ns()
            self._report(f"repaired: {fault}")

    def _report(self, line: str) -> None:
        self._say(f"{time.monotonic() - self._begin:7.2f} s  {line}")
