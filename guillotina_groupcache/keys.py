"""Keys: what Guillotina reads by, and their byte form (R10: keys of different things never have the same bytes).

Guillotina's own `BaseCache.get_key` joins the parts with `-` and `/`, so a child with the id
`default-annotation` has the key of the annotation `default`. Here every part has a length instead.

The byte form is UTF-8 of: kind (one letter), length of the database id, database id, length of the object id,
object id, name up to the end. A length is the character with that code point, and counts characters; so one
`join` and one `encode` make a key, a length below 128 costs one byte, and a key can be read in a log. Surrogates
are encoded as they are (`surrogatepass`): UTF-8 then maps every string to bytes of its own, and back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum
from typing import Any, NamedTuple

from guillotina.db.uid import MAX_UID_LENGTH

from guillotina_groupcache.interfaces import KeyFormatError


class Kind(str, Enum):
    """The kinds of things that Guillotina caches. The value is the first byte of a key."""

    OBJECT = "o"  #: the record of an object, by its object id
    CHILD = "c"  #: the record of an object, by its container's object id and its own id
    ANNOTATION = "a"  #: the record of an annotation, by its owner's object id and its name
    KEYS = "k"  #: the ids of an object's children
    LEN = "l"  #: the number of an object's children
    ANNOTATION_KEYS = "n"  #: the names of an object's annotations


class Key(NamedTuple):
    """A key in parts; `encode(*key)` is its byte form."""

    db: str  #: Guillotina's id of the database
    kind: Kind
    oid: str  #: the object's id; of a child its container's, of an annotation its owner's
    name: str = ""  #: the id of a child or annotation; empty for the other kinds


_CHILD = Kind.CHILD
_ANNOTATION = Kind.ANNOTATION
_KIND_OF_LETTER = {kind.value: kind for kind in Kind}
_KIND_OF_VARIANT = {"keys": Kind.KEYS, "len": Kind.LEN, "annotation-keys": Kind.ANNOTATION_KEYS}


def stored_oid(oid: str) -> str:
    """The object id as the database has it: its first 64 characters.

    Guillotina's statements cast object ids to `varchar(64)`, which cuts longer ones off without an error. So a read
    with 64 right characters and some more gets the row of the 64. It is the same row, so it must have the same key:
    no write would ever invalidate another one.
    """
    return oid[:MAX_UID_LENGTH]


def encode(db: str, kind: Kind, oid: str, name: str = "") -> bytes:
    """The byte form of a key, for any strings; object ids are cut as the database cuts them (`stored_oid`).

    Raises `KeyFormatError` for a name with a kind that has none, and `TypeError` for what is not a string.
    """
    if name and kind is not _CHILD and kind is not _ANNOTATION:
        raise KeyFormatError(f"a key of kind {kind.name} has no name, got {name!r}")
    oid = oid[:MAX_UID_LENGTH]
    return "".join((kind, chr(len(db)), db, chr(len(oid)), oid, name)).encode("utf-8", "surrogatepass")


def prefix(db: str) -> bytes:
    """The bytes that every key of a database, and no key of another one, has behind its first byte."""
    return (chr(len(db)) + db).encode("utf-8", "surrogatepass")


def decode(data: bytes) -> Key:
    """The key whose byte form is `data`: the inverse of `encode`.

    Raises `KeyFormatError` for bytes that `encode` does not make.
    """
    try:
        text = str(data, "utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise KeyFormatError(f"{_shown(data)} is not a key: {error.reason} at byte {error.start}") from None
    kind = _KIND_OF_LETTER.get(text[:1])
    if kind is None:
        raise KeyFormatError(f"{_shown(data)} is not a key: it does not begin with one of {_LETTERS}")
    db, end = _part(text, 1, "database id", data)
    oid, end = _part(text, end, "object id", data)
    if len(oid) > MAX_UID_LENGTH:
        raise KeyFormatError(f"{_shown(data)} is not a key: its object id has {len(oid)} characters")
    name = text[end:]
    if name and kind is not _CHILD and kind is not _ANNOTATION:
        raise KeyFormatError(f"{_shown(data)} is not a key: kind {kind.name} has no name")
    return Key(db, kind, oid, name)


def from_cache_arguments(
    db: str,
    oid: str | None = None,
    container: Any = None,
    id: str | None = None,
    variant: str | None = None,
) -> bytes | None:
    """The key that Guillotina means by the arguments of `ITransactionCache.get` and `BaseCache.get_key`.

    | arguments | kind |
    | --- | --- |
    | `oid` | object |
    | `container`, `id` | child |
    | `container`, `id`, variant `annotation` | annotation |
    | `oid`, variant `keys`, `len` or `annotation-keys` | keys, len, annotation-keys |

    As in `BaseCache.get_key`, `oid` may be given instead of `container` and the other way round; where both are given
    `oid` is taken. `None` means that nothing can be cached under these arguments, so there is nothing to look up or to
    invalidate. `Transaction` itself makes such calls: for an object without parent or id that was loaded by its object
    id, it passes `container` and `id` as None.
    """
    owner = oid
    if owner is None:
        owner = container if container is None or isinstance(container, str) else container.__uuid__
        if owner is None:
            return None
    if id is not None:
        if variant is None:
            return encode(db, _CHILD, owner, id)
        return encode(db, _ANNOTATION, owner, id) if variant == "annotation" else None
    if variant is not None:
        kind = _KIND_OF_VARIANT.get(variant)
        return None if kind is None else encode(db, kind, owner)
    return None if oid is None else encode(db, Kind.OBJECT, owner)


def object_keys(database: str, ob: Any, with_lists: bool = True) -> Iterable[bytes]:
    """Every key whose value a write of an object can change, as far as the object itself shows.

    `with_lists` is false for an object that stays where it is.
    """
    if ob.__uuid__ is None:
        return
    parent = getattr(ob, "__parent__", None)
    yield encode(database, Kind.OBJECT, ob.__uuid__)
    yield from place_keys(
        database,
        getattr(ob, "__of__", None),
        None if parent is None else parent.__uuid__,
        {ob.__name__, getattr(ob, "id", None)},
        with_lists,
    )


def record_keys(database: str, record: Any, with_lists: bool = False) -> Iterable[bytes]:
    """The keys under which a record is found; with lists, also the keys of the lists that contain it."""
    yield encode(database, Kind.OBJECT, record["zoid"])
    yield from place_keys(database, record["of"], record["parent_id"], {record["id"]}, with_lists)


def place_keys(
    database: str, of: str | None, parent: str | None, names: Collection[str | None], with_lists: bool
) -> Iterable[bytes]:
    """The keys under which an annotation of `of`, a child of `parent`, or an object that is both, is found.

    Guillotina's statements look at one column each: an annotation whose row has a parent too is also one of the
    parent's children.
    """
    for owner, kind, lists in (
        (of, Kind.ANNOTATION, (Kind.ANNOTATION_KEYS,)),
        (parent, Kind.CHILD, (Kind.KEYS, Kind.LEN)),
    ):
        if owner is None:
            continue
        for name in names:
            if name is not None:
                yield encode(database, kind, owner, name)
        for list_ in lists if with_lists else ():
            yield encode(database, list_, owner)


def _part(text: str, start: int, what: str, data: bytes) -> tuple[str, int]:
    """The part of a key whose length is at `start`, and where the next one begins."""
    begin = start + 1
    end = begin + ord(text[start]) if start < len(text) else begin
    if end > len(text) or start >= len(text):
        raise KeyFormatError(f"{_shown(data)} is not a key: it ends within its {what}")
    return text[begin:end], end


_LETTERS = ", ".join(_KIND_OF_LETTER)


def _shown(data: bytes) -> str:
    """`data` for an error message, shortened: an id in a key can have any length."""
    return repr(bytes(data[:80])) + ("…" if len(data) > 80 else "")
