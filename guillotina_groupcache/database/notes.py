"""The notes of outside writes as a view shows them: anybody may have written anything into their table."""

from __future__ import annotations

import msgspec

from guillotina_groupcache.database.triggers import MAX_ROWS

#: The columns zoid, parent_id, id and of: which object a row is, and where it is in the tree.
TreePlace = tuple[str, str | None, str | None, str | None]


class Note(msgspec.Struct, frozen=True):
    """A row of `groupcache_outside_writes`."""

    id: int
    application: str  #: the writer's `application_name`
    rows: int
    places: list[TreePlace] | None  #: those that the rows had or have. None: everything may have changed


class _Shown(msgspec.Struct):
    """A note as a view shows it: its places may be any JSON."""

    id: int
    application: str
    rows: int
    places: msgspec.Raw


def split(notes: str | None) -> list[msgspec.Raw] | None:
    """The notes that a view shows, one by one; None where they cannot be read: too large, or nested too deeply."""
    try:
        return msgspec.json.decode(notes, type=list[msgspec.Raw]) if notes else []
    except (ValueError, RecursionError):  # the former is the base class of msgspec's errors
        return None


def decode(notes: str | None) -> list[Note] | None:
    """The notes that a view shows; None where they cannot be read."""
    shown = split(notes)
    try:
        return None if shown is None else [_decoded(raw) for raw in shown]
    except RecursionError:
        return None


def _decoded(raw: msgspec.Raw) -> Note:
    shown = msgspec.json.decode(raw, type=_Shown)
    return Note(shown.id, shown.application, shown.rows, places_of(shown.places))


def places_of(raw: msgspec.Raw) -> list[TreePlace] | None:
    """The places of a note; None, everything, for what no trigger of ours can have written."""
    try:
        places = msgspec.json.decode(raw, type=list[TreePlace] | None)
    except (ValueError, RecursionError):
        return None
    return places if places is not None and len(places) <= 2 * MAX_ROWS else None
