"""The near cache: values as readers get them, so that a hit neither calls the library nor decodes.

A near entry is used only while the version table shows the version under which it was found, and the lease that R2
demands has not run out. This is the library's own test, made by a few loads from its memory.

The order of these loads matters (R2), and Python has no barriers. Processors such as x86-64 keep loads in order; on
others the near cache stays empty, and every read asks the library.
"""

from __future__ import annotations

import os
import platform
import weakref
from collections import deque
from collections.abc import Hashable
from typing import Any, Final, NoReturn

from guillotina_groupcache.constants import EPOCH, NEAR_BYTES, NEAR_HITS, NEAR_ITEMS
from guillotina_groupcache.native import Found

KEEPS_LOADS_IN_ORDER: Final = platform.machine() in ("x86_64", "AMD64")

#: Bytes that a near entry takes besides the value's byte form: a dict of nine columns, their objects, entry and slot.
OVERHEAD: Final = 1200

_VERSION_BITS: Final = (1 << 64) - 1


def share(size: int) -> int:
    """The bytes of a process' `size` that its near cache takes: an eighth, as for the hot copies."""
    return size // 8 if KEEPS_LOADS_IN_ORDER else 0


class FrozenRecord(dict[str, Any]):
    """A record that many readers share: like a row of asyncpg it cannot be changed."""

    __slots__ = ()

    def _refuse(self, *arguments: Any, **named: Any) -> NoReturn:
        raise TypeError("all readers of a record share it: change a copy, dict(record)")

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        # A copy, or a pickle, belongs to whoever made it, and may be changed.
        return dict, (dict(self),)

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


class NearEntry:
    """A decoded value, and what it takes to test whether it may still be used."""

    __slots__ = ("asked", "deadline", "entries", "expires", "size", "used", "value", "version", "word", "zoid")

    value: Any
    zoid: str | None  #: of a record
    version: int  #: the sum of the epoch and the bucket's word, without the library's modulo
    word: int  #: the index of the bucket's word in the table
    deadline: int  #: the index of the word that holds the database's deadline
    expires: int  #: nanoseconds of CLOCK_BOOTTIME

    def __init__(self, entries: Entries, asked: Hashable) -> None:
        self.entries = entries
        self.asked = asked
        self.used = False
        self.size = 0  # bytes


#: The near entries of one database, by what a transaction asks for.
Entries = dict[Hashable, NearEntry]
#: Where a value is kept: the entries of its database, and what a transaction asks for.
Slot = tuple[Entries, Hashable]


class NearCache:
    """The near entries of one process, within a limit of bytes.

    They are evicted in the order in which they came, but an entry that was used before its turn goes to the end of
    the queue instead. So a hit only sets a flag.
    """

    __slots__ = ("__weakref__", "_bytes", "_databases", "_limit", "_queue", "table")

    def __init__(self, table: memoryview, limit: int) -> None:
        """`table` are the words of the library's version table; `limit` is in bytes.

        The counts are kept in the table's last words, where the library finds them for its statistics.
        """
        self.table = table
        self._limit = limit if KEEPS_LOADS_IN_ORDER else 0
        self._bytes = 0
        self._databases: dict[str, Entries] = {}
        self._queue: deque[NearEntry] = deque()
        _all.add(self)

    def entries(self, database: str) -> Entries:
        """The entries of a database, for lookups only: `keep` and `clear` change them."""
        return self._databases.setdefault(database, {})

    def keep(self, slot: Slot, value: Any, found: Found) -> Any:
        """Keep a value that the library has just found in memory, and return it as it may be shared.

        Not kept are lists, which readers may change, markers, and values so large that they would evict too much.
        """
        size = len(found.value) + OVERHEAD
        if type(value) not in (dict, str, int) or size > self._limit // 8:
            return value
        shown = self.table[EPOCH] + self.table[found.word]
        if shown & _VERSION_BITS != found.version:
            return value  # its bucket was bumped meanwhile
        entries, asked = slot
        entry = entries.get(asked)
        if entry is None:
            entry = entries[asked] = NearEntry(entries, asked)
            self._queue.append(entry)
        entry.value = FrozenRecord(value) if type(value) is dict else value
        entry.zoid = value["zoid"] if type(value) is dict else None
        entry.version, entry.word = shown, found.word
        entry.expires, entry.deadline = found.expires, found.deadline
        self._bytes += size - entry.size
        entry.size = size
        while self._bytes > self._limit:
            self._evict_one()
        self.table[NEAR_ITEMS], self.table[NEAR_BYTES] = len(self._queue), self._bytes
        return entry.value

    def count(self, hits: int) -> None:
        """Add near hits, which the readers have counted, to the statistics."""
        if self.table:
            self.table[NEAR_HITS] += hits

    def _evict_one(self) -> None:
        entry = self._queue.popleft()
        if entry.used:
            entry.used = False
            self._queue.append(entry)
        else:
            del entry.entries[entry.asked]
            self._bytes -= entry.size

    def clear(self) -> None:
        """Forget all entries, and the table, whose memory is about to be unmapped."""
        self.table = memoryview(b"")
        for entries in self._databases.values():
            entries.clear()
        self._queue.clear()
        self._bytes = 0
        self._limit = 0


_all: weakref.WeakSet[NearCache] = weakref.WeakSet()


def _after_fork() -> None:
    # The child's copy of the table does not change any more, so nothing may be tested by it.
    for cache in list(_all):
        cache.clear()


os.register_at_fork(after_in_child=_after_fork)
