"""Records: the values that are cached, and their byte form.

A value is one of: a record (the row of an object), a list of ids, a number, `_EMPTY` (Guillotina's mark for an
annotation that is not there), `ABSENT` (the database has no such row) and `TOO_LARGE` (it has one, but too
large to be cached).

The byte form is MessagePack (msgspec): an array whose first element is a number, the tag of the form (below). A row of
exactly the nine columns that Guillotina 7.1 loads is the array of its values; a row with other columns is a map.

Decoding runs no code, but a record's column `state` is a pickle, which Guillotina loads when the object is read. So a
peer that can give a value to a process can run code in it, as can a user who writes to the database. That is why TCP
needs `secret` or `tls` (`settings.parser`).
"""

from __future__ import annotations

from enum import Enum
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Literal

import asyncpg
import msgspec
from guillotina.db.cache.base import BaseCache
from guillotina.db.transaction import _EMPTY

from guillotina_groupcache.interfaces import RecordError
from guillotina_groupcache.keys import stored_oid

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: The columns that the loads of guillotina/db/storages/pg.py select, in the order in which `decode` gives them.
FIELDS: Final = ("zoid", "tid", "state_size", "resource", "of", "parent_id", "id", "type", "state")

#: Bytes of `state` up to which a record is cached: the limit of Guillotina's own cache, 5 MiB.
MAX_RECORD_SIZE: Final[int] = BaseCache.max_cache_record_size

#: Bytes that an encoded value never exceeds: a state of `MAX_RECORD_SIZE` and 64 KiB for all the rest.
MAX_ENCODED_SIZE: Final[int] = MAX_RECORD_SIZE + 65536


class Marker(Enum):
    """What is cached where there is no value to cache. The members are singletons: compare with `is`."""

    ABSENT = "absent"  #: the database has no such row
    TOO_LARGE = "too large"  #: the value exceeds `MAX_RECORD_SIZE` or `MAX_ENCODED_SIZE`: read the database


ABSENT: Final[Literal[Marker.ABSENT]] = Marker.ABSENT
TOO_LARGE: Final[Literal[Marker.TOO_LARGE]] = Marker.TOO_LARGE

Record = dict[str, Any]
Ids = list[str | None]  # The column `id` may be NULL.
Value = Record | Ids | int | str | Marker  # The only string is `_EMPTY`.


class _Form(msgspec.Struct, array_like=True, tag_field="form", forbid_unknown_fields=True, gc=False):
    """The common part of the forms: an array that begins with the form's tag."""


class _Row(_Form, tag=0):
    """A record of `FIELDS`; `PostgresqlStorage._object_schema` defines which of them may be NULL."""

    zoid: str
    tid: int
    state_size: int
    resource: bool
    of: str | None
    parent_id: str | None
    id: str | None
    type: str
    state: bytes | None


class _Columns(_Form, tag=1):
    """A record with other columns than `FIELDS`."""

    value: dict[str, Any]


class _Ids(_Form, tag=2):
    """The ids of an object's children, or the names of its annotations."""

    value: Ids


class _Number(_Form, tag=3):
    """The number of an object's children."""

    value: int


class _Mark(_Form, tag=4):
    """One of the singletons, by its key in `_MARKS`."""

    value: Literal[0, 1, 2]


_MARKS: Final[dict[Literal[0, 1, 2], str | Marker]] = {0: _EMPTY, 1: ABSENT, 2: TOO_LARGE}

_FIELDS_AS_SET: Final = frozenset(FIELDS)
_values_of_fields = itemgetter(*FIELDS)
_to_bytes = msgspec.msgpack.Encoder().encode
_to_form = msgspec.msgpack.Decoder(_Row | _Columns | _Ids | _Number | _Mark).decode
_asdict = msgspec.structs.asdict

_ENCODED_TOO_LARGE = _to_bytes(_Mark(2))


def encode(value: Value | asyncpg.Record) -> bytes:
    """The byte form of a value, at most `MAX_ENCODED_SIZE` bytes; of a value that is too large, `TOO_LARGE`'s.

    Raises `RecordError` for values that `decode` would not give back as they were: other types, a `date` in an
    unknown column, a string with a surrogate. Such a value must not be cached.
    """
    try:
        if isinstance(value, (dict, asyncpg.Record)):
            state = value.get("state")
            if isinstance(state, bytes) and len(state) > MAX_RECORD_SIZE:
                return _ENCODED_TOO_LARGE
            data = _to_bytes(_row(value) if _has_fields(value) else _columns(value))
        else:
            data = _to_bytes(_plain(value))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RecordError(f"a value of type {type(value).__name__} cannot be cached: {error}") from None
    return data if len(data) <= MAX_ENCODED_SIZE else _ENCODED_TOO_LARGE


def decode(data: Buffer) -> Value:
    """The value whose byte form is `data`, which may be bytes, a memoryview or a buffer of cffi.

    A record is a new `dict` of exactly `FIELDS`, in that order; unknown columns follow by name. Nothing refers to
    `data` afterwards: `state` is copied out of it, once.

    Raises `RecordError` for bytes that have none of the forms.
    """
    try:
        form = _to_form(data)
    except (ValueError, RecursionError) as error:
        size = memoryview(data).nbytes
        raise RecordError(f"these {size} bytes are not a cached value: {error}") from None
    if type(form) is _Row:
        return _asdict(form)
    return _MARKS[form.value] if type(form) is _Mark else form.value


def pushed(oid: str, pickled: bytes, tid: int, writer: Any) -> Record:
    """The record that a load would give right after the commit of what `storage.store` wrote under an object id.

    `pickled` is the state as it was written, `tid` the transaction's id and `writer` the object's `IWriter`. To be
    called when the storage calls `store_object`, as the object may change again later. The columns are those of the
    statements in guillotina/db/storages/pg.py, which cut object ids off (`stored_oid`).
    """
    of, parent_id = writer.of, writer.parent_id
    return {
        "zoid": stored_oid(oid),
        "tid": tid,
        "state_size": len(pickled),
        "resource": writer.resource,
        "of": None if of is None else stored_oid(of),
        "parent_id": None if parent_id is None else stored_oid(parent_id),
        "id": writer.id,
        "type": writer.type,
        "state": pickled,
    }


def _has_fields(record: Record | asyncpg.Record) -> bool:
    return set(record.keys()) == _FIELDS_AS_SET


def _row(record: Record | asyncpg.Record) -> _Row:
    # `convert` checks the types as the decoder will, so whatever is stored can also be read.
    return msgspec.convert((_Row.__struct_config__.tag, *_values_of_fields(record)), _Row)


def _columns(record: Record | asyncpg.Record) -> _Columns:
    columns = dict(record)
    known = [name for name in FIELDS if name in columns]
    columns = {name: columns[name] for name in known + sorted(columns.keys() - FIELDS)}
    # MessagePack has fewer types than PostgreSQL, and msgspec turns most others (dates, UUIDs, decimals) into strings.
    # A reader must get what the database gives, so a row that would change is refused.
    for name, value in columns.items():
        if msgspec.msgpack.decode(_to_bytes(value)) != value:
            raise TypeError(f"the column {name!r} holds a {type(value).__name__}")
    return _Columns(columns)


def _plain(value: Any) -> _Form:
    """The form of a value that is not a record."""
    if isinstance(value, list):
        return _Ids(msgspec.convert(value, Ids))
    if type(value) is int:
        return _Number(value)
    for number, mark in _MARKS.items():
        if value == mark:
            return _Mark(number)
    raise TypeError("allowed are a record, a list of ids, an int, _EMPTY, ABSENT and TOO_LARGE")
