"""The oracle of the other tests finds each kind of fault, on a cluster to which this test writes by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
import pytest

from guillotina_groupcache.keys import Kind, encode
from harness.cluster import Cluster
from tests.cluster.steps import database_transaction, new, title_everywhere, uid
from tests.oracle import MARK, WRITER, Announced
from tests.oracle_fixtures import Watch

#: The mark of announced statements, but of another cluster: so the product notes what is written here.
MARKED = f"{MARK} of another cluster */ "
CHANGE_ID = "UPDATE objects SET id = %s, tid = nextval('tid_sequence') WHERE zoid = %s"


class Item(NamedTuple):
    parent: str
    oid: str


@pytest.fixture
def item(cluster: Cluster) -> Iterator[Item]:
    """An item with the id `old`, for one test."""
    name = f"folder-{uuid4().hex}"
    folder = new(cluster[0], name, type_="Folder")
    yield Item(uid(cluster[0], folder), uid(cluster[0], new(cluster[0], "old", "old", parent=folder)))
    assert cluster[0].http.delete(folder).status == 200


@contextmanager
def member(cluster: Cluster, watch: Watch, *keys: bytes, everything: bool = False) -> Iterator[Any]:
    """Give a cursor in a transaction that announces keys."""
    writer = uuid4().hex
    with database_transaction(cluster) as cursor:
        cursor.execute(f"SET LOCAL {WRITER} = '{writer}'")
        yield cursor
        with watch.judge.file.open("ab") as file:
            file.write(msgspec.json.encode(Announced(writer, "db", list(keys), everything)) + b"\n")


def changed(item: Item) -> dict[str, bytes]:
    """Return the keys that a change of the id from `old` to `new` affects, by their names in the oracle's faults."""
    return {
        f"OBJECT {item.oid}": encode("db", Kind.OBJECT, item.oid),
        f"CHILD {item.parent} old": encode("db", Kind.CHILD, item.parent, "old"),
        f"CHILD {item.parent} new": encode("db", Kind.CHILD, item.parent, "new"),
        f"KEYS {item.parent}": encode("db", Kind.KEYS, item.parent),
        f"LEN {item.parent}": encode("db", Kind.LEN, item.parent),
    }


def named(fault: str) -> set[str]:
    """Return the keys that are missing according to a fault."""
    return set(fault.partition(" lacks ")[2].partition(", which was changed by ")[0].split(", "))


def test_what_members_write_is_judged(cluster: Cluster, oracle: Watch) -> None:
    path = new(cluster[0], "written", "first")
    assert oracle.take() == []
    before = oracle.judge.judged
    assert cluster[1].http.patch(path, {"title": "second"}).status == 204
    assert oracle.take() == []
    assert oracle.judge.judged == before + 1
    title_everywhere(cluster, path, "second")


def test_each_key_that_an_event_lacks_is_found(cluster: Cluster, oracle: Watch, item: Item) -> None:
    keys = changed(item)
    old, new_ = "old", "new"
    for lacking in keys:
        with member(cluster, oracle, *(key for name, key in keys.items() if name != lacking)) as cursor:
            cursor.execute(MARKED + CHANGE_ID, [new_, item.oid])
        (fault,) = oracle.take()
        assert named(fault) == {lacking}
        old, new_ = new_, old
    for everything in (False, True):
        with member(cluster, oracle, *(() if everything else keys.values()), everything=everything) as cursor:
            cursor.execute(MARKED + CHANGE_ID, [new_, item.oid])
        assert oracle.take() == []
        old, new_ = new_, old


def test_a_member_that_announces_nothing_is_found(cluster: Cluster, oracle: Watch, item: Item) -> None:
    with database_transaction(cluster) as cursor:
        cursor.execute(MARKED + CHANGE_ID, ["new", item.oid])
    (fault,) = oracle.take()
    assert fault.startswith("a transaction that has announced nothing lacks ")
    assert named(fault) == changed(item).keys()


def test_a_change_where_it_stays_needs_no_list(cluster: Cluster, oracle: Watch, item: Item) -> None:
    keys = {name: key for name, key in changed(item).items() if name.startswith("OBJECT") or name.endswith(" old")}
    with member(cluster, oracle, *keys.values()) as cursor:
        cursor.execute(MARKED + CHANGE_ID, ["old", item.oid])
    assert oracle.take() == []
    with member(cluster, oracle) as cursor:
        cursor.execute(MARKED + CHANGE_ID, ["old", item.oid])
    (fault,) = oracle.take()
    assert named(fault) == keys.keys()


def test_what_is_not_committed_is_not_judged(cluster: Cluster, oracle: Watch, item: Item) -> None:
    with database_transaction(cluster) as cursor:
        cursor.execute("SAVEPOINT before")
        cursor.execute(MARKED + CHANGE_ID, ["new", item.oid])
        cursor.execute("ROLLBACK TO SAVEPOINT before")
    assert oracle.take() == []


def test_a_write_from_outside_that_the_product_does_not_note_is_found(
    cluster: Cluster, oracle: Watch, item: Item
) -> None:
    with database_transaction(cluster) as cursor:
        cursor.execute("SAVEPOINT released")
        cursor.execute(CHANGE_ID, ["new", item.oid])
        cursor.execute("RELEASE SAVEPOINT released")
    assert oracle.take() == []
    with database_transaction(cluster) as cursor:
        # The function that notes is replaced for one transaction, so that the second statement's rows are not noted.
        cursor.execute("SELECT pg_get_functiondef('groupcache_note_outside_write'::regproc)")
        (definition,) = cursor.fetchone()
        cursor.execute(
            "CREATE OR REPLACE FUNCTION groupcache_note_outside_write() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RETURN NULL; END'"
        )
        cursor.execute(CHANGE_ID, ["old", item.oid])
        cursor.execute(definition)
    (fault,) = oracle.take()
    assert named(fault) == changed(item).keys()
