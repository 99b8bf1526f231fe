"""The boundary to the Go library: the only module that knows its C names.

Bytes cross with their length; nothing keeps a pointer. Calls return at once, but for `Node.close`: what has to
wait comes back as a completion, by `Node.drain`, once `Node.fd` is readable.
"""

from __future__ import annotations

import os
import struct
import weakref
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from guillotina_groupcache.interfaces import ForkedError, LibraryError

LIBRARY: Final = Path(__file__).with_name("libgroupcache.so")

_FAILED: Final = -(1 << 62)
_HEADER: Final = struct.Struct("<IB3xQ")
_HEADER_SIZE: Final = _HEADER.size
_LENGTH: Final = struct.Struct("<I")
_RESULT: Final = struct.Struct("<BI")
_RESULT_SIZE: Final = _RESULT.size
#: Words of the version table: the epoch, and how many there are before the first bucket. Among them are the deadlines
#: of R2, one per database, whose places `Node.database` tells (go/internal/coherence/table.go).
EPOCH: Final = 0
HEADER_WORDS: Final = 72
#: Databases that one process serves in its life (the same file).
MAX_DATABASES: Final = 64
#: Bytes of a database's id: peers take no longer one in what is announced to them (go/internal/coherence/codec.go).
MAX_DATABASE_ID: Final = 256
#: Words at its end, which Python writes: of what it keeps decoded the hits, how many, and how many bytes
#: (go/internal/node/shared.go).
NEAR_HITS: Final = -3
NEAR_ITEMS: Final = -2
NEAR_BYTES: Final = -1
#: Bytes that a lookup or a drain takes at first; a larger value takes a second call.
_BUFFER_SIZE: Final = 1 << 16


class Source(IntEnum):
    """Where a value came from; the numbers are those of go/internal/cache/source.go."""

    NOWHERE = 0  #: it did not come: read the database
    OWN = 1  #: the memory of this process, which owns the key
    HOT = 2  #: this process' copy of what another one owns
    PEER = 3  #: the memory of the owner
    DATABASE = 4  #: a load that this request caused
    DEDUPLICATED = 5  #: a load that was under way for another request
    BYPASS = 6  #: a read of the database as if there were no cache, never the library's answer


class Missed(IntEnum):
    """Why `Node.get` gives no value; the numbers are those of go/internal/node/reads.go."""

    MISS = -1  #: it is not in this process
    BYPASS = -2  #: read the database: not in standing, or the key's bucket is in doubt


class CompletionKind(IntEnum):
    """What a completion is about; the numbers are those of go/internal/completion/queue.go."""

    VALUES = 1
    LOAD = 2
    CLEARED = 3
    DATABASE_QUERY = 4
    PEER_STATS = 5
    LOG = 6


class Completion(NamedTuple):
    """Finished work, or work for Python; `id` is the request's, the load's, the event's or the question's."""

    kind: CompletionKind
    id: int
    payload: bytes


class Result(NamedTuple):
    """A value's byte form and where it came from; with `Source.NOWHERE` there is none."""

    source: Source
    value: bytes


class Found(NamedTuple):
    """What `Node.get` gives, and how to see later, without a call, whether it may still be used.

    It may while the words `EPOCH` and `word` of `Node.table` add up to `version`, modulo 2^64, and neither what the
    word `deadline` holds nor `expires` has come; these are nanoseconds of `CLOCK_BOOTTIME`.
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


def pack(elements: Iterable[bytes]) -> bytes:
    """A list of bytes as the library takes it: each element behind its length."""
    parts = []
    for element in elements:
        parts.append(_LENGTH.pack(len(element)))
        parts.append(element)
    return b"".join(parts)


def unpack(data: bytes) -> list[bytes]:
    """The inverse of `pack`, for what the library packed."""
    elements, at = [], 0
    while at < len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        elements.append(data[at : at + size])
        at += size
    return elements


def pack_results(values: Iterable[bytes | None]) -> bytes:
    """The answer to a load: a value for each key, None where there is nothing to give."""
    parts = []
    for value in values:
        source = Source.NOWHERE if value is None else Source.DATABASE
        parts.append(_RESULT.pack(source, len(value or b"")))
        parts.append(value or b"")
    return b"".join(parts)


def unpack_result(data: bytes) -> tuple[Source, bytes]:
    """The answer to a read of one key: where its value came from, and that."""
    return _SOURCES[data[0]], data[_RESULT_SIZE:]


def unpack_results(data: bytes) -> list[Result]:
    """The answer to a read: a result for each key."""
    results, at = [], 0
    while at < len(data):
        source, size = _RESULT.unpack_from(data, at)
        at += _RESULT_SIZE
        results.append(Result(_SOURCES[source], data[at : at + size]))
        at += size
    return results


class Node:
    """This process' part in the cluster, from `open` to `close`. All calls belong to one thread."""

    __slots__ = ("__weakref__", "_buffer", "_bytes", "_ffi", "_found", "_handle", "_lib", "fd", "table")

    def __init__(self, config: dict[str, Any]) -> None:
        """Load the library if need be, listen if the configuration says so, and begin to take part.

        `config` is go/internal/node/config.go's `Config`. Raises `LibraryError` with one line that tells what
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

    def database(self, id_: str, prefix: bytes) -> int | None:
        """Serve the keys of a database, which have `prefix` behind their first byte.

        The place of its deadline in `table`; None where the process has `MAX_DATABASES` already. A prefix that is
        known keeps its place, and nothing is served of it until a look has reached the database again.
        """
        name = id_.encode(errors="replace")
        word = self._check(self._lib.gc_database(self._handle, name, len(name), prefix, len(prefix)))
        return None if word < 0 else word

    def unserve(self, id_: str) -> None:
        """Serve no key of a database any more, and have events over it put nothing in doubt here."""
        name = id_.encode(errors="replace")
        self._check(self._lib.gc_unserve(self._handle, name, len(name)))

    def get(self, key: bytes, request: int = 0) -> Found | Missed:
        """The value of a key if this process has it in memory and may serve it now.

        With `Missed.MISS` it is got wherever it is, and the completion `VALUES` answers the request with a result
        (`unpack_result`); the request 0 gets nothing.
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
        # The entry may have changed since it told its size, and then again within a call's time.
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
        """Get keys wherever they are; the completion `VALUES` answers with a result for each (`unpack_results`)."""
        packed = pack(keys)
        self._check(self._lib.gc_read(self._handle, request, packed, len(packed)))

    def warm(self, request: int, keys: Iterable[bytes]) -> bool:
        """Get keys into this process' memory; if true, an empty `VALUES` tells when they are there."""
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

    def announce(self, database: str, keys: Iterable[bytes], everything: bool = False) -> int:
        """Announce an event over keys, or over everything. `PASSED` with its number: COMMIT may be sent."""
        name, packed = database.encode(), pack(keys)
        return self._check(self._lib.gc_announce(self._handle, name, len(name), packed, len(packed), everything))

    def settle(self, event: int, pushes: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Settle an event, and give what was written, as pairs of key and value, to its owners."""
        packed = pack(part for push in pushes for part in push)
        self._check(self._lib.gc_settle(self._handle, event, packed, len(packed)))

    def lost(self, event: int) -> None:
        """Tell that the answer to an event's COMMIT was lost: the database will say when it is over."""
        self._check(self._lib.gc_lost(self._handle, event))

    def outside_write(
        self, id: int, nonce: int, keys: Iterable[bytes], everything: bool, rows: int, application: str
    ) -> None:
        """Tell once what a note of a write from outside names: keys, or everything (R14).

        It is done before the first answer to a `read` question that lists the note's `id`, and again if the note comes
        back after it was not listed. `nonce`, of 64 bits, is the same for this note at every process. `rows`, 0 where
        that is not known, and `application` are for the statistics. Raises `OverflowError` for what has no 64 bits.
        """
        name, packed = application.encode(errors="replace"), pack(keys)
        arguments = (id, nonce, everything, rows, name, len(name), packed, len(packed))
        self._check(self._lib.gc_outside_write(self._handle, *arguments))

    def answer(self, question: int, answer: dict[str, Any]) -> None:
        """Answer a `DATABASE` question; go/internal/node/questions.go tells the fields."""
        text = msgspec.json.encode(answer)
        self._check(self._lib.gc_answer(self._handle, question, text, len(text)))

    def stats(self) -> dict[str, Any]:
        """The statistics of this process, as go/internal/node/stats.go tells."""
        size = self._check(self._lib.gc_stats(self._handle, self._ffi.NULL, 0))
        while True:
            buffer = self._ffi.new("uint8_t[]", size)
            needed = self._check(self._lib.gc_stats(self._handle, buffer, size))
            if needed <= size:
                stats: dict[str, Any] = msgspec.json.decode(self._ffi.buffer(buffer, needed)[:])
                return stats
            size = needed

    def peer_stats(self, request: int) -> None:
        """Ask every peer for its statistics; `PEER_STATS` answers with them (`peer_stats.decode`)."""
        self._check(self._lib.gc_peer_stats(self._handle, request))

    def drain(self) -> list[Completion]:
        """Completions that wait now: all, or, when they fill a buffer, the first; `fd` stays readable for the rest."""
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

    def leave(self) -> None:
        """Serve nothing any more and say bye to the others; a `DATABASE` question removes the row."""
        self._check(self._lib.gc_leave(self._handle))

    def close(self) -> None:
        """End every connection, load and thread of this node. Nothing may be called afterwards.

        It waits for what is under way to notice: milliseconds, and where a peer does not read, two seconds.
        """
        _nodes.discard(self)
        self._check(self._lib.gc_close(self._handle))


_nodes: weakref.WeakSet[Node] = weakref.WeakSet()
_loaded: tuple[Any, Any] | None = None
_loaded_by = 0


def _load() -> tuple[Any, Any]:
    """cffi's `ffi` and the library: loaded once a process, and not before it is needed.

    A Go runtime does not survive a fork, so a process must not fork between this and its end.
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
    """What a forked child finds in the library's place: every call is a clear error, not a hang."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ForkedError(_FORKED.format(_loaded_by))


def _after_fork() -> None:
    for node in list(_nodes):
        node._lib = _Forked()


os.register_at_fork(after_in_child=_after_fork)
