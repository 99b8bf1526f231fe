"""Lists of keys and values, as they cross the boundary to the library: each element behind its length."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from guillotina_groupcache.constants import Source

_LENGTH: Final = struct.Struct("<I")
_RESULT: Final = struct.Struct("<BI")
_RESULT_SIZE: Final = _RESULT.size
_SOURCES: Final = tuple(Source)


class Result(NamedTuple):
    """A value's byte form and where it came from; with `Source.NOWHERE` there is none."""

    source: Source
    value: bytes


def pack(elements: Iterable[bytes]) -> bytes:
    """A list of bytes as the library takes it."""
    parts = []
    for element in elements:
        parts.append(_LENGTH.pack(len(element)))
        parts.append(element)
    return b"".join(parts)


def unpack(data: bytes) -> list[bytes]:
    """The inverse of `pack`, for what the library has packed."""
    elements, at = [], 0
    while at < len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        elements.append(data[at : at + size])
        at += size
    return elements


def pack_results(values: Iterable[bytes | None]) -> bytes:
    """The answer to a load: a value for each key, None where the load failed."""
    parts = []
    for value in values:
        source = Source.NOWHERE if value is None else Source.DATABASE
        parts.append(_RESULT.pack(source, len(value or b"")))
        parts.append(value or b"")
    return b"".join(parts)


def unpack_result(data: bytes) -> tuple[Source, bytes]:
    """The answer to a read of one key."""
    return _SOURCES[data[0]], data[_RESULT_SIZE:]


def unpack_results(data: bytes) -> list[Result]:
    """The answer to a read of many keys: a result for each."""
    results, at = [], 0
    while at < len(data):
        source, size = _RESULT.unpack_from(data, at)
        at += _RESULT_SIZE
        results.append(Result(_SOURCES[source], data[at : at + size]))
        at += size
    return results
