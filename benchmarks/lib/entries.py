"""Entries that a benchmark adds to the store of the node in which it runs."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any, Final

from guillotina.component import get_utility

from benchmarks.lib import agent

#: Bytes of a value.
VALUE: Final = 1000
_random = random.Random(1).randbytes(400_000)


class Entries:
    """Adds entries to the node by reads that miss and cause a load, which is answered here."""

    def __init__(self) -> None:
        from guillotina_groupcache.constants import CompletionKind
        from guillotina_groupcache.interfaces import IGroupcacheUtility
        from guillotina_groupcache.wire import unpack

        self._utility: Any = get_utility(IGroupcacheUtility)
        self._kinds: Any = CompletionKind
        self._unpack = unpack
        self._values: dict[bytes, bytes] = {}
        # The utility's own requests are numbered from 1.
        self._requests = itertools.count(1 << 60)
        self.node = self._utility._node
        self.waiting = 0

    def request(self, values: dict[bytes, bytes]) -> None:
        self._values |= values
        self.waiting += 1
        self.node.read(next(self._requests), list(values))

    def answer(self) -> None:
        """Answer the pending loads."""
        kinds = self._kinds
        for completion in list(self.node.drain()):
            if completion.kind is kinds.LOAD:
                wanted = self._unpack(completion.payload)
                self.node.loaded(completion.id, [self._values.pop(key) for key in wanted])
            elif completion.kind is kinds.VALUES and completion.id >= 1 << 60:
                self.waiting -= 1
            else:
                self._utility._completions.take([completion])

    def add(self, values: dict[bytes, bytes]) -> None:
        """Add entries, and wait until the store has them."""
        self.request(values)
        while self.waiting:
            time.sleep(0)
            self.answer()


class Growth:
    """Adds so many new entries per second, whenever `turn` is called."""

    def __init__(self, first: int, pace: int) -> None:
        self._numbers, self._pace = itertools.count(first), pace
        self._entries = Entries()
        self._begin, self._given = time.perf_counter(), 0
        self.longest = 0.0  #: seconds of a turn

    def turn(self) -> None:
        begin = time.perf_counter()
        due = int((begin - self._begin) * self._pace) - self._given
        if due:
            self._given += due
            self._entries.request({key_of(next(self._numbers)): value_of(VALUE) for _ in range(due)})
        if self._entries.waiting:
            self._entries.answer()
        self.longest = max(self.longest, time.perf_counter() - begin)


def key_of(number: int) -> bytes:
    from guillotina_groupcache import keys

    return keys.encode(agent.DATABASE, keys.Kind.OBJECT, f"{number:032x}")


def value_of(size: int) -> bytes:
    """Return bytes that differ each time and cost nothing to make."""
    begin = random.randrange(len(_random) - size)
    return _random[begin : begin + size]
