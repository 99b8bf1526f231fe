"""The outside writes of the tests, each with what every node must read before and after it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pytest

from harness.client import CONTAINER
from harness.cluster import Cluster
from tests.cluster.outside import LATER, Change, children, copied, psql
from tests.cluster.steps import json_of, new, title, uid

#: Creates what a change needs below a folder, and returns the change.
Maker = Callable[[Cluster, str], Change]
#: All columns of an object but the one that names it.
_COLUMNS: Final = "tid, state_size, part, resource, of, otid, parent_id, id, type, json, state"
#: A value that no object has yet.
_NEXT_TID: Final = "nextval('tid_sequence')"


def _twins(cluster: Cluster, folder: str) -> tuple[str, str, str]:
    """Return an item, its uid, and the uid of an item in another folder, whose state the first one gets."""
    item = new(cluster[0], "item", "before", parent=folder)
    twin = new(cluster[0], "twin", "after", parent=new(cluster[0], "twins", type_="Folder", parent=folder))
    return item, uid(cluster[0], item), uid(cluster[0], twin)


def state_with_its_tid(cluster: Cluster, folder: str) -> Change:
    item, oid, twin = _twins(cluster, folder)
    statement = f"""UPDATE objects AS o SET state = t.state, tid = {_NEXT_TID}
        FROM objects AS t WHERE o.zoid = '{oid}' AND t.zoid = '{twin}'"""
    return Change(lambda dsn: psql(dsn, statement), lambda node: title(node, item), "before", "after")


def state_alone(cluster: Cluster, folder: str) -> Change:
    item, oid, twin = _twins(cluster, folder)
    return Change(partial(psql, statement=copied(oid, twin)), lambda node: title(node, item), "before", "after")


def upsert(cluster: Cluster, folder: str) -> Change:
    item, oid, twin = _twins(cluster, folder)
    statement = f"""INSERT INTO objects (zoid, {_COLUMNS}) SELECT '{oid}', {_COLUMNS} FROM objects WHERE zoid = '{twin}'
        ON CONFLICT (zoid) DO UPDATE SET state = EXCLUDED.state"""
    return Change(partial(psql, statement=statement), lambda node: title(node, item), "before", "after")


def deletion(cluster: Cluster, folder: str) -> Change:
    item = new(cluster[0], "item", "gone", parent=folder)
    new(cluster[0], "stays", "stays", parent=folder)
    oid = uid(cluster[0], item)
    return Change(
        partial(psql, statement=f"DELETE FROM objects WHERE zoid = '{oid}'"),
        lambda node: (node.http.get(item).status, children(node, folder)),
        (200, ({"item": "gone", "stays": "stays"}, 2)),
        (404, ({"stays": "stays"}, 1)),
    )


def cascade(cluster: Cluster, folder: str) -> Change:
    """The database deletes what lies below."""
    inner = new(cluster[0], "inner", type_="Folder", parent=folder)
    item = new(cluster[0], "item", "gone", parent=inner)
    oids = [uid(cluster[0], path) for path in (inner, item)]
    paths = [item, *(f"{CONTAINER}/@record/{oid}" for oid in oids)]
    return Change(
        partial(psql, statement=f"DELETE FROM objects WHERE zoid = '{oids[0]}'"),
        lambda node: [node.http.get(path).status for path in paths],
        [200, 200, 200],
        [404, 404, 404],
    )


def _inserted(cluster: Cluster, folder: str, write: Callable[[str, str], Any]) -> Change:
    """Return an insertion: `write` gets a URL and a SELECT of the row."""
    new(cluster[0], "first", "like this", parent=folder)
    oid = uid(cluster[0], f"{folder}/first")
    columns = _COLUMNS.replace(" id,", f" '{LATER}',")
    row = f"SELECT left(zoid, -32) || md5(zoid), {columns} FROM objects WHERE zoid = '{oid}'"
    return Change(
        lambda dsn: write(dsn, row),
        lambda node: (node.http.get(f"{folder}/{LATER}").status, children(node, folder)),
        (404, ({"first": "like this"}, 1)),
        (200, ({"first": "like this", LATER: "like this"}, 2)),
    )


def insertion(cluster: Cluster, folder: str) -> Change:
    return _inserted(cluster, folder, lambda dsn, row: psql(dsn, f"INSERT INTO objects (zoid, {_COLUMNS}) {row}"))


def copy(cluster: Cluster, folder: str) -> Change:
    def write(dsn: str, row: str) -> None:
        rows = psql(dsn, f"COPY ({row}) TO STDOUT")
        psql(dsn, f"COPY objects (zoid, {_COLUMNS}) FROM STDIN", input=rows)

    return _inserted(cluster, folder, write)


def move(cluster: Cluster, folder: str) -> Change:
    source, target = (new(cluster[0], id_, type_="Folder", parent=folder) for id_ in ("source", "target"))
    oid, to = uid(cluster[0], new(cluster[0], LATER, "moved", parent=source)), uid(cluster[0], target)
    return Change(
        partial(psql, statement=f"UPDATE objects SET parent_id = '{to}' WHERE zoid = '{oid}'"),
        lambda node: [(node.http.get(f"{path}/{LATER}").status, children(node, path)) for path in (source, target)],
        [(200, ({LATER: "moved"}, 1)), (404, ({}, 0))],
        [(404, ({}, 0)), (200, ({LATER: "moved"}, 1))],
    )


def another_id(cluster: Cluster, folder: str) -> Change:
    oid = uid(cluster[0], new(cluster[0], "old", "kept", parent=folder))
    return Change(
        partial(psql, statement=f"UPDATE objects SET id = '{LATER}' WHERE zoid = '{oid}'"),
        lambda node: ([node.http.get(f"{folder}/{id_}").status for id_ in ("old", LATER)], children(node, folder)),
        ([200, 404], ({"old": "kept"}, 1)),
        ([404, 200], ({LATER: "kept"}, 1)),
    )


def annotation(cluster: Cluster, folder: str) -> Change:
    item, oid, twin = _twins(cluster, folder)
    for path, value in ((item, "before"), (f"{folder}/twins/twin", "after")):
        assert cluster[0].http.post(f"{path}/@annotation/note", value).status == 200
    statement = f"""UPDATE objects AS o SET state = t.state FROM objects AS t
        WHERE (o.of, o.id) = ('{oid}', 'note') AND (t.of, t.id) = ('{twin}', 'note')"""
    return Change(
        partial(psql, statement=statement),
        lambda node: json_of(node, f"{item}/@annotations")["note"],
        "before",
        "after",
    )


#: Objects that one statement changes.
BULK: Final = 30


def bulk(cluster: Cluster, folder: str) -> Change:
    twin = uid(cluster[0], new(cluster[0], "twin", "after", parent=folder))
    many = new(cluster[0], "many", type_="Folder", parent=folder)
    assert cluster[0].http.post(f"{many}/@fill/{BULK}").status == 200
    statement = f"""UPDATE objects SET state = (SELECT state FROM objects WHERE zoid = '{twin}')
        WHERE parent_id = '{uid(cluster[0], many)}'"""
    return Change(
        partial(psql, statement=statement),
        lambda node: json_of(node, f"{many}/@titles"),
        {str(number): str(number) for number in range(BULK)},
        dict.fromkeys(map(str, range(BULK)), "after"),
    )


def as_a_replica(cluster: Cluster, folder: str) -> Change:
    """Only triggers that are enabled for replicas fire: pg_restore and replication set this."""
    item, oid, twin = _twins(cluster, folder)
    # Through a pooler, other clients would get the setting of a session.
    statement = f"BEGIN; SET LOCAL session_replication_role = replica; {copied(oid, twin)}; COMMIT"
    return Change(partial(psql, statement=statement), lambda node: title(node, item), "before", "after")


def many_statements(cluster: Cluster, folder: str) -> Change:
    """One transaction with a statement that fails in a savepoint, and another that is committed."""
    item, oid, twin = _twins(cluster, folder)
    statement = f"""DO $$BEGIN
        BEGIN DELETE FROM objects WHERE zoid = '{oid}'; RAISE 'not so'; EXCEPTION WHEN raise_exception THEN NULL; END;
        {copied(oid, twin)};
    END$$"""
    return Change(partial(psql, statement=statement), lambda node: title(node, item), "before", "after")


CHANGES: Final[dict[str, Maker]] = {
    maker.__name__: maker
    for maker in (
        state_with_its_tid,
        state_alone,
        upsert,
        deletion,
        cascade,
        insertion,
        copy,
        move,
        another_id,
        annotation,
        bulk,
        as_a_replica,
        many_statements,
    )
}
#: One change of each kind; the others are left to `make soak`, as another connection makes no other row.
CORE: Final = ("state_with_its_tid", "deletion", "move", "bulk")
SOME: Final = [name if name in CORE else pytest.param(name, marks=pytest.mark.soak) for name in CHANGES]
