"""Eviction policies as small simulations, fed with a trace of keys and their sizes.

`hit_share(policy, trace, size)` is the share of the trace's reads that a cache of `size` bytes answers.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

#: A read: the number of a key, and the bytes that its entry takes.
Read = tuple[int, int]


class Policy(Protocol):
    """A cache of a fixed number of bytes."""

    def read(self, key: int, size: int) -> bool:
        """Return whether the key was in the cache; afterwards it may be."""


class Lru:
    """Evicts the least recently used entry."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._entries: OrderedDict[int, int] = OrderedDict()

    def read(self, key: int, size: int) -> bool:
        if key in self._entries:
            self._entries.move_to_end(key)
            return True
        self._entries[key] = size
        self._left -= size
        while self._left < 0:
            self._left += self._entries.popitem(last=False)[1]
        return False


class S3Fifo:
    """Three queues (Yang and others, SOSP 2023): a tenth for new entries, the rest for those that were read again.

    The key of an entry that was evicted without such a read is remembered: if it returns it goes straight to the rest.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._new: deque[int] = deque()
        self._main: deque[int] = deque()
        self._ghosts: OrderedDict[int, int] = OrderedDict()
        self._sizes: dict[int, int] = {}
        self._reads: dict[int, int] = {}
        self._new_bytes = self._main_bytes = self._ghost_bytes = 0

    def read(self, key: int, size: int) -> bool:
        if key in self._sizes:
            self._reads[key] = min(3, self._reads[key] + 1)
            return True
        if key in self._ghosts:
            self._ghost_bytes -= self._ghosts.pop(key)
            self._main.append(key)
            self._main_bytes += size
        else:
            self._new.append(key)
            self._new_bytes += size
        self._sizes[key], self._reads[key] = size, 0
        while self._new_bytes + self._main_bytes > self._size:
            self._make_room()
        return False

    def _make_room(self) -> None:
        if self._new and (self._new_bytes > self._size // 10 or not self._main):
            key = self._new.popleft()
            self._new_bytes -= self._sizes[key]
            if self._reads[key] > 1:
                self._main.append(key)
                self._main_bytes += self._sizes[key]
                self._reads[key] = 0
            else:
                self._remember(key, self._forget(key))
            return
        key = self._main.popleft()
        if self._reads[key]:
            self._reads[key] -= 1
            self._main.append(key)
        else:
            self._main_bytes -= self._forget(key)

    def _forget(self, key: int) -> int:
        del self._reads[key]
        return self._sizes.pop(key)

    def _remember(self, key: int, size: int) -> None:
        self._ghosts[key] = size
        self._ghost_bytes += size
        while self._ghost_bytes > self._size:
            self._ghost_bytes -= self._ghosts.popitem(last=False)[1]


class WTinyLfu:
    """An LRU window of a hundredth (Einziger, Friedman and Manes, 2017), and an LRU of two parts for the rest.

    An entry that leaves the window replaces one in the rest only if it was read more often. Counters are halved now and
    then.
    """

    def __init__(self, size: int) -> None:
        self._window_left, self._protected_left = size // 100, size * 79 // 100
        self._left = size - self._window_left
        self._window: OrderedDict[int, int] = OrderedDict()
        self._probation: OrderedDict[int, int] = OrderedDict()
        self._protected: OrderedDict[int, int] = OrderedDict()
        self._counts: Counter[int] = Counter()
        self._counted = 0

    def read(self, key: int, size: int) -> bool:
        self._count(key)
        if key in self._window:
            self._window.move_to_end(key)
        elif key in self._protected:
            self._protected.move_to_end(key)
        elif key in self._probation:
            self._protect(key)
        else:
            self._window[key] = size
            self._window_left -= size
            while self._window_left < 0:
                candidate, size = self._window.popitem(last=False)
                self._window_left += size
                self._admit(candidate, size)
            return False
        return True

    def _count(self, key: int) -> None:
        self._counts[key] = min(15, self._counts[key] + 1)
        self._counted += 1
        if self._counted > 10 * (len(self._protected) + len(self._probation) + len(self._window) + 100):
            self._counts = Counter({key: count // 2 for key, count in self._counts.items() if count > 1})
            self._counted //= 2

    def _protect(self, key: int) -> None:
        size = self._probation.pop(key)
        self._protected[key] = size
        self._protected_left -= size
        while self._protected_left < 0:
            demoted, size = self._protected.popitem(last=False)
            self._protected_left += size
            self._probation[demoted] = size

    def _admit(self, key: int, size: int) -> None:
        while self._left < size:
            queue = self._probation or self._protected
            if not queue:
                return
            victim = next(iter(queue))
            if self._counts[victim] >= self._counts[key]:
                return
            freed = queue.pop(victim)
            self._left += freed
            if queue is self._protected:
                self._protected_left += freed
        self._probation[key] = size
        self._left -= size


POLICIES: Final[dict[str, Callable[[int], Policy]]] = {"LRU": Lru, "S3-FIFO": S3Fifo, "W-TinyLFU": WTinyLfu}


def hit_share(policy: Policy, trace: Iterable[Read]) -> float:
    """Return the share of the reads that an initially empty cache answers."""
    answers = [policy.read(key, size) for key, size in trace]
    return sum(answers) / len(answers)


def best_share(trace: Sequence[Read], size: int) -> float:
    """Return the share that no policy surpasses where entries have one size (Belady): it knows the future reads."""
    never = len(trace)
    following = [never] * len(trace)
    latest: dict[int, int] = {}
    for at in range(len(trace) - 1, -1, -1):
        following[at] = latest.get(trace[at][0], never)
        latest[trace[at][0]] = at
    cached: dict[int, tuple[int, int]] = {}  # by key: when it is read next, and its bytes
    furthest: list[tuple[int, int]] = []
    left, hits = size, 0
    for at, (key, bytes_) in enumerate(trace):
        if key in cached:
            hits += 1
            left += cached.pop(key)[1]
        if following[at] == never:
            continue  # what is never read again takes no room
        cached[key] = (following[at], bytes_)
        left -= bytes_
        heapq.heappush(furthest, (-following[at], key))
        while left < 0:
            when, victim = heapq.heappop(furthest)
            if victim in cached and cached[victim][0] == -when:
                left += cached.pop(victim)[1]
    return hits / len(trace)
