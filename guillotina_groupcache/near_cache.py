"""Records that this process keeps decoded, so that to read one again calls no library and decodes nothing.

A decoded record is used only while the shared version table shows the version under which it was found, and the
lease that R2 demands has not run out: the library's own test, made by a few loads from its memory.

The order of those loads matters (R2), and Python has no barriers. On processors that keep loads in order, as x86-64
does, they are in order; on others nothing is kept here and every read asks the library.
"""

from __future__ import annotations

import os
import platform
import weakref
from collections import deque
from collections.abc import Hashable
from typing import Any, Final, NoReturn

from guillotina_groupcache.native import NEAR_BYTES, NEAR_HITS, NEAR_ITEMS, EPOCH, Found

KEEPS_LOADS_IN_ORDER: Final = platform.machine() in ("x86_64", "AMD64")

#: Bytes that a decoded record takes beside its byte form: a dict of nine columns, their objects, entry and places.
OVERHEAD: Final = 1200

_VERSION_BITS: Final = (1 << 64) - 1


def share(size: int) -> int:
    """The bytes of a process' `size` that its near cache takes: an eighth, as for the hot copies."""
    return size // 8 if KEEPS_LOADS_IN_ORDER else 0


class FrozenRecord(dict[str, Any]):
    """A record that many readers share: like a row of asyncpg it cannot be changed."""

    __slots__ = ()

    def _refuse(self, *arguments: Any, **named: Any) -> NoReturn:
        raise TypeError("a record is shared by all who read it: change a copy, dict(record)")

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        # Copies, and what is pickled, are somebody's own.
        return dict, (dict(self),)

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


class Decoded:
    """One decoded value and what its freshness is tested by."""

    __slots__ = ("deadline", "expires", "home", "place", "size", "used", "value", "version", "word", "zoid")

    value: Any
    zoid: str | None  #: of a record
    version: int  #: the epoch and the bucket's word, as Python adds them
    word: int  #: the bucket's place in the table
    deadline: int  #: the place of the database's deadline there
    expires: int  #: nanoseconds of CLOCK_BOOTTIME
    size: int  #: bytes

    def __init__(self, home: Home, place: Hashable) -> None:
        self.home = home
        self.place = place
        self.used = False
        self.size = 0


#: The decoded values of one database, by what a transaction asks for.
Home = dict[Hashable, Decoded]
Place = tuple[Home, Hashable]


class NearCache:
    """The decoded values of one process, by database and place, within a limit of bytes.

    Whom to drop is found by a queue with a second chance, so a hit only sets a flag.
    """

    __slots__ = ("__weakref__", "_bytes", "_databases", "_limit", "_queue", "table")

    def __init__(self, table: memoryview, limit: int) -> None:
        """`table` are the words of the library's version table; `limit` is in bytes.

        What is counted goes into the table's last words, so that the library tells it, also to peers.
        """
        self.table = table
        self._limit = limit if KEEPS_LOADS_IN_ORDER else 0
        self._bytes = 0
        self._databases: dict[str, Home] = {}
        self._queue: deque[Decoded] = deque()
        _all.add(self)

    def of(self, database: str) -> Home:
        """The values of a database by their places: only to look up in, `keep` and `clear` change it."""
        return self._databases.setdefault(database, {})

    def keep(self, place: Place, value: Any, found: Found) -> Any:
        """Keep a value that the library has just found in memory, and return it as it may be shared.

        A list is everyone's own, a marker no value, and what is too large would put out too much: these are not
        kept.
        """
        size = len(found.value) + OVERHEAD
        if type(value) not in (dict, str, int) or size > self._limit // 8:
            return value
        shown = self.table[EPOCH] + self.table[found.word]
        if shown & _VERSION_BITS != found.version:
            return value  # it was renamed meanwhile
        home, at = place
        entry = home.get(at)
        if entry is None:
            entry = home[at] = Decoded(home, at)
            self._queue.append(entry)
        entry.value = FrozenRecord(value) if type(value) is dict else value
        entry.zoid = value["zoid"] if type(value) is dict else None
        entry.version, entry.word, entry.expires = shown, found.word, found.expires
        entry.deadline = found.deadline
        self._bytes += size - entry.size
        entry.size = size
        while self._bytes > self._limit:
            self._drop_one()
        self.table[NEAR_ITEMS], self.table[NEAR_BYTES] = len(self._queue), self._bytes
        return entry.value

    def count(self, hits: int) -> None:
        """Count hits, which the readers gather."""
        if self.table:
            self.table[NEAR_HITS] += hits

    def _drop_one(self) -> None:
        entry = self._queue.popleft()
        if entry.used:
            entry.used = False
            self._queue.append(entry)
        else:
            del entry.home[entry.place]
            self._bytes -= entry.size

    def clear(self) -> None:
        """Forget everything, and the table, which is about to be gone."""
        self.table = memoryview(b"")
        for entries in self._databases.values():
            entries.clear()
        self._queue.clear()
        self._bytes = 0
        self._limit = 0


_all: weakref.WeakSet[NearCache] = weakref.WeakSet()


def _after_fork() -> None:
    # The child has a copy of the table that nobody writes to any more.
    for records in list(_all):
        records.clear()


os.register_at_fork(after_in_child=_after_fork)
