"""What a write can change: the keys of an object and of its record, for a transaction's event (R11)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from guillotina_groupcache import keys
from guillotina_groupcache.keys import Kind


def object_keys(database: str, ob: Any, with_lists: bool = True) -> Iterable[bytes]:
    """Every key whose value a write of an object can change, as far as the object itself tells.

    Without lists it is one that stays where it is.
    """
    if ob.__uuid__ is None:
        return
    parent = getattr(ob, "__parent__", None)
    yield keys.encode(database, Kind.OBJECT, ob.__uuid__)
    yield from _keys_of_place(
        database,
        getattr(ob, "__of__", None),
        None if parent is None else parent.__uuid__,
        {ob.__name__, getattr(ob, "id", None)},
        with_lists,
    )


def record_keys(database: str, record: Any, with_lists: bool = False) -> Iterable[bytes]:
    """The keys under which a record is found; with lists, also those of the lists that name it."""
    yield keys.encode(database, Kind.OBJECT, record["zoid"])
    yield from _keys_of_place(database, record["of"], record["parent_id"], {record["id"]}, with_lists)


def _keys_of_place(
    database: str, of: str | None, parent: str | None, names: Iterable[str | None], with_lists: bool
) -> Iterable[bytes]:
    """The keys of an annotation of `of`, or else of a child of `parent`, by its names."""
    owner = of or parent
    if not owner:
        return
    for name in names:
        if name is not None:
            yield keys.encode(database, Kind.ANNOTATION if of else Kind.CHILD, owner, name)
    if with_lists:
        for kind in (Kind.ANNOTATION_KEYS,) if of else (Kind.KEYS, Kind.LEN):
            yield keys.encode(database, kind, owner)
