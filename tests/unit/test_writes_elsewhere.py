"""The changes of a transaction on a storage that is not PostgreSQL, so that its rows are not looked at (R11)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from guillotina.const import TRASHED_ID

from guillotina_groupcache import keys
from guillotina_groupcache.changes import Writes
from guillotina_groupcache.keys import Kind

OID, OLD, NEW = "1" * 32, "2" * 32, "3" * 32


def changed(*kinds: str, seen: bool) -> tuple[set[bytes], bool]:
    """The changes of a move of an object, whose old place the transaction has seen, or not."""
    ob = SimpleNamespace(__uuid__=OID, __parent__=SimpleNamespace(__uuid__=NEW), __name__="new", id="new", __of__=None)
    objects: dict[str, dict[str, Any]] = {
        "added": {},
        "modified": {},
        "deleted": {},
        **{kind: {OID: ob} for kind in kinds},
    }
    transaction: Any = SimpleNamespace(storage=object(), **objects)
    record = {"zoid": OID, "of": None, "parent_id": OLD, "id": "old"}
    unused: Any = None
    changes = Writes(transaction, "db", unused, unused, {OID: record} if seen else {}).changes()
    return changes.keys, changes.everything


def test_a_move_names_the_place_where_the_object_was_seen() -> None:
    found, everything = changed("modified", seen=True)
    for parent, name in ((OLD, "old"), (NEW, "new")):
        assert keys.encode("db", Kind.CHILD, parent, name) in found
        assert {keys.encode("db", kind, parent) for kind in (Kind.KEYS, Kind.LEN)} <= found
    assert not everything


@pytest.mark.parametrize(
    ("kind", "seen"), [("added", False), ("modified", False), ("deleted", False), ("deleted", True)]
)
def test_a_row_whose_place_is_not_known_means_everything(kind: str, seen: bool) -> None:
    assert changed(kind, seen=seen)[1]


def test_a_deleted_object_goes_into_the_trash_even_if_it_was_added() -> None:
    found, _ = changed("added", "deleted", seen=False)
    assert {keys.encode("db", kind, TRASHED_ID) for kind in (Kind.KEYS, Kind.LEN)} <= found
