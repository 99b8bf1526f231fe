"""The boundary to the Go library: the only module that knows its C names.

Bytes cross with their length, and neither side keeps the other's pointers. All calls but `Node.close` return at once:
what takes time is answered by a completion, which `Node.drain` gives once `Node.fd` is readable.
"""

from __future__ import annotations

import os
import struct
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from guillotina_groupcache.constants import HEADER_WORDS, CompletionKind, Missed, Source
from guillotina_groupcache.interfaces import ForkedError, LibraryError
from guillotina_groupcache.wire import pack, pack_results

LIBRARY: Final = Path(__file__).with_name("libgroupcache.so")

_FAILED: Final = -(1 << 62)
_HEADER: Final = struct.Struct("<IB3xQ")
_HEADER_SIZE: Final = _HEADER.size
#: Bytes that a lookup or a drain takes at first; a larger value takes a second call.
_BUFFER_SIZE: Final = 1 << 16


class Completion(NamedTuple):
    """Finished work, or work for Python; `id` is the number of the request, load, event or query."""

    kind: CompletionKind
    id: int
    payload: bytes


class Found(NamedTuple):
    """A value in this process' memory, and how to test later, without a call, whether it may still be used.

    It may as long as the words `EPOCH` and `word` of `Node.table` add up to `version`, modulo 2^64, and the clock
    (nanoseconds of `CLOCK_BOOTTIME`) has reached neither `expires` nor what the word `deadline` holds.
    """

    source: Source
    value: bytes
    version: int
    word: int
    expires: int
    deadline: int


#: Makes a named tuple without the function that names its fields, which takes longer than the rest.
_tuple: Final = tuple.__new__

_SOURCES: Final = tuple(Source)
_MISSED: Final = {missed.value: missed for missed in Missed}
_KINDS: Final = {kind.value: kind for kind in CompletionKind}


class Node:
    """This process' part in the cluster, until `close`. All calls belong to one thread."""

    __slots__ = ("__weakref__", "_buffer", "_bytes", "_ffi", "_found", "_handle", "_lib", "fd", "table")

    def __init__(self, config: dict[str, Any]) -> None:
        """Load the library unless that is done, listen if the configuration says so, and join the cluster.

        `config` is the `Config` of go/internal/node/config.go. Raises `LibraryError` with one line that says what
        is wrong, and `ForkedError` in a child of a process that had loaded the library.
        """
        self._ffi, self._lib = _load()
        self._buffer = self._ffi.new("uint8_t[]", _BUFFER_SIZE)
        self._bytes = self._ffi.buffer(self._buffer)
        self._found = self._ffi.new("gc_found *")
        text = msgspec.json.encode(config)
        self._handle = self._check(self._lib.gc_open(text, len(text)))
        self.fd = self._check(self._lib.gc_fd(self._handle))
        self.table = self._table()
        _nodes.add(self)

    def _check(self, result: int) -> int:
        if result == _FAILED:
            size = self._lib.gc_error(self._buffer, _BUFFER_SIZE)
            raise LibraryError(bytes(self._ffi.buffer(self._buffer, size)).decode(errors="replace"))
        return result

    def _table(self) -> memoryview:
        """The words of the version table, and those that Python writes. Not to be used after `close`."""
        words = self._ffi.new("size_t *")
        address = self._check(self._lib.gc_table(self._handle, words))
        return memoryview(self._ffi.buffer(self._ffi.cast("uint64_t *", address), words[0] * 8)).cast("B").cast("Q")

    # --- databases

    def database(self, id_: str, prefix: bytes) -> int | None:
        """Serve the keys of a database, which have `prefix` behind their first byte.

        Returns the index of its deadline in `table`; None where the process has `MAX_DATABASES` already. A prefix
        that is known keeps its index, and nothing is served of the database until a view has reached it again.
        """
        name = id_.encode(errors="replace")
        word = self._check(self._lib.gc_database(self._handle, name, len(name), prefix, len(prefix)))
        return None if word < 0 else word

    def unserve(self, id_: str) -> None:
        """Serve no key of a database any more; events over it put nothing in doubt here from now on."""
        name = id_.encode(errors="replace")
        self._check(self._lib.gc_unserve(self._handle, name, len(name)))

    # --- reads

    def get(self, key: bytes, request: int = 0) -> Found | Missed:
        """The value of a key if this process has it in memory and may serve it now.

        After `Missed.MISS` the library fetches the value wherever it is, and the completion `VALUES` answers the
        request (`wire.unpack_result`), unless that is 0.
        """
        size: int = self._lib.gc_get(self._handle, request, key, len(key), self._buffer, _BUFFER_SIZE, self._found)
        if size < 0:
            return _MISSED[self._check(size)]
        if size <= _BUFFER_SIZE:
            return self._as_found(self._bytes[:size])
        return self._get_large(key, request, size)

    def _as_found(self, value: bytes) -> Found:
        found = self._found
        word = HEADER_WORDS + found.bucket
        return _tuple(Found, (_SOURCES[found.source], value, found.version, word, found.expires, found.deadline))

    def _get_large(self, key: bytes, request: int, size: int) -> Found | Missed:
        # Between two calls a larger value may have taken the place of the one whose size is known.
        while True:
            buffer = self._ffi.new("uint8_t[]", size)
            got = self._check(self._lib.gc_get(self._handle, request, key, len(key), buffer, size, self._found))
            if got < 0:
                return _MISSED[got]
            if got <= size:
                return self._as_found(self._ffi.buffer(buffer, got)[:])
            size = got

    def version(self, key: bytes) -> int | None:
        """The version that a key has now; None while it must be read from the database.

        Between two calls that give the same version no member has announced an event over the key.
        """
        version = self._ffi.new("uint64_t *")
        return version[0] if self._check(self._lib.gc_version(self._handle, key, len(key), version)) else None

    def read(self, request: int, keys: Iterable[bytes]) -> None:
        """Fetch keys wherever they are; the completion `VALUES` has a result for each (`wire.unpack_results`)."""
        packed = pack(keys)
        self._check(self._lib.gc_read(self._handle, request, packed, len(packed)))

    def warm(self, request: int, keys: Iterable[bytes]) -> bool:
        """Fetch keys into this process' memory; if true, an empty `VALUES` reports when they are there."""
        packed = pack(keys)
        return bool(self._check(self._lib.gc_warm(self._handle, request, packed, len(packed))))

    def loaded(self, load: int, values: Iterable[bytes | None]) -> None:
        """Answer a `LOAD`: the byte form of each key's value, None where the load failed."""
        packed = pack_results(values)
        self._check(self._lib.gc_loaded(self._handle, load, packed, len(packed), 0))

    def load_failed(self, load: int, reason: str) -> None:
        """Answer a `LOAD` for which there are no values at all."""
        text = reason.encode(errors="replace")
        self._check(self._lib.gc_loaded(self._handle, load, text, len(text), 1))

    # --- events

    def announce(self, database: str, keys: Iterable[bytes], everything: bool = False) -> int:
        """Announce an event over keys, or over everything; its number. `CLEARED` says when COMMIT may be sent."""
        name, packed = database.encode(), pack(keys)
        return self._check(self._lib.gc_announce(self._handle, name, len(name), packed, len(packed), everything))

    def settle(self, event: int, pushes: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Settle an event, and send what was written, as pairs of key and value, to the keys' owners."""
        packed = pack(part for push in pushes for part in push)
        self._check(self._lib.gc_settle(self._handle, event, packed, len(packed)))

    def lost(self, event: int) -> None:
        """Report that the answer to an event's COMMIT was lost: the database will say when the event is over."""
        self._check(self._lib.gc_lost(self._handle, event))

    def outside_write(
        self, id: int, nonce: int, keys: Iterable[bytes], everything: bool, rows: int, application: str
    ) -> None:
        """Report the keys, or everything, that a note of a write from outside names (R14).

        It must be reported before the first answer to a `take_view` query that lists the note's `id`, and again if the
        note comes back after it was not listed. `nonce`, of 64 bits, is the same for this note at every process.
        `rows` (0: not known) and `application` are for the statistics. Raises `OverflowError` for numbers of more
        than 64 bits.
        """
        name, packed = application.encode(errors="replace"), pack(keys)
        arguments = (id, nonce, everything, rows, name, len(name), packed, len(packed))
        self._check(self._lib.gc_outside_write(self._handle, *arguments))

    # --- completions, queries, statistics

    def drain(self) -> list[Completion]:
        """The completions that wait: all, or as many as fit the buffer; `fd` stays readable for the rest."""
        buffer, got = self._bytes, self._lib.gc_drain(self._handle, self._buffer, _BUFFER_SIZE)
        if got < 0:
            size = -self._check(got)
            large = self._ffi.new("uint8_t[]", size)
            buffer, got = self._ffi.buffer(large), self._check(self._lib.gc_drain(self._handle, large, size))
        completions, at = [], 0
        while at < got:
            length, kind, id_ = _HEADER.unpack_from(buffer, at)
            payload = buffer[at + _HEADER_SIZE : at + length]
            completions.append(_tuple(Completion, (_KINDS[kind], id_, payload)))
            at += length
        return completions

    def answer(self, query: int, answer: dict[str, Any]) -> None:
        """Answer a `DATABASE_QUERY`; the library's `queryAnswer` lists the fields."""
        text = msgspec.json.encode(answer)
        self._check(self._lib.gc_answer(self._handle, query, text, len(text)))

    def stats(self) -> dict[str, Any]:
        """The statistics of this process; go/internal/node/stats.go lists them."""
        size = self._check(self._lib.gc_stats(self._handle, self._ffi.NULL, 0))
        while True:
            buffer = self._ffi.new("uint8_t[]", size)
            needed = self._check(self._lib.gc_stats(self._handle, buffer, size))
            if needed <= size:
                stats: dict[str, Any] = msgspec.json.decode(self._ffi.buffer(buffer, needed)[:])
                return stats
            size = needed

    def peer_stats(self, request: int) -> None:
        """Ask every peer for its statistics; `PEER_STATS` has the answers (`peer_stats.decode`)."""
        self._check(self._lib.gc_peer_stats(self._handle, request))

    # --- the end

    def leave(self) -> None:
        """Stop serving and say bye to the others; a `DATABASE_QUERY` removes the row."""
        self._check(self._lib.gc_leave(self._handle))

    def close(self) -> None:
        """End every session, load and thread of this node. Nothing may be called afterwards.

        It waits until what is under way has ended: milliseconds, and where a peer does not read, two seconds.
        """
        _nodes.discard(self)
        self._check(self._lib.gc_close(self._handle))


_nodes: weakref.WeakSet[Node] = weakref.WeakSet()
_loaded: tuple[Any, Any] | None = None
_loaded_by = 0


def _load() -> tuple[Any, Any]:
    """cffi's `ffi` and the library: loaded once per process, and not before it is needed.

    A Go runtime does not survive a fork, so a process must not fork after this.
    """
    global _loaded, _loaded_by
    if _loaded is None:
        try:
            from guillotina_groupcache._native_abi import ffi

            _loaded = ffi, ffi.dlopen(str(LIBRARY))
        except (ImportError, OSError) as error:
            raise LibraryError(f"cannot load {LIBRARY.name}: {error}") from None
        _loaded_by = os.getpid()
    elif _loaded_by != os.getpid():
        raise ForkedError(_FORKED.format(_loaded_by))
    return _loaded


_FORKED: Final = (
    "the library was loaded by process {} before this process was forked from it, and a Go runtime does not"
    " survive a fork: fork first, and start Guillotina in the child"
)


class _Forked:
    """Stands in for the library in a forked child: every call raises an error instead of hanging."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ForkedError(_FORKED.format(_loaded_by))


def _after_fork() -> None:
    for node in list(_nodes):
        node._lib = _Forked()


os.register_at_fork(after_in_child=_after_fork)
