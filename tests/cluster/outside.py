"""Writers from outside: programs that speak SQL and announce nothing, and what every node must read after them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from demo.client import CONTAINER
from demo.cluster import Cluster, Node, wait_for
from tests.cluster.steps import (
    at_once,
    database_transaction,
    everywhere,
    forget_storage_calls,
    is_in_database,
    json_of,
    new,
    storage_calls,
    title,
    uid,
    wait_settled,
)
from tests.postgres_embedded import wheel_package

#: The seconds of a lease: `guillotina_groupcache.process.LEASE`.
LEASE: Final = 3.0
#: The id of what is not there, or elsewhere, before the write.
LATER: Final = "later"
#: Seconds until a node that still reads what was there before counts as wrong: far more than a lease.
READ_TIMEOUT: Final = 20.0
#: Seconds until a program counts as hanging.
_PROGRAM_SECONDS: Final = 60.0
#: All columns of an object but the one that names it.
_COLUMNS: Final = "tid, state_size, part, resource, of, otid, parent_id, id, type, json, state"
#: A value that no object has yet.
_NEXT_TID: Final = "nextval('public.tid_sequence')"


def program(name: str, *arguments: str, input: str | None = None, **environ: str) -> str:
    """Run a program of PostgreSQL to its end, which must be a good one, and give its output."""
    done = subprocess.run(
        [wheel_package() / "pginstall" / "bin" / name, *arguments],
        input=input,
        capture_output=True,
        text=True,
        timeout=_PROGRAM_SECONDS,
        env={**os.environ, **environ},
    )
    assert done.returncode == 0, f"{name} failed: {done.stderr}"
    return done.stdout


def psql(dsn: str, statement: str, input: str | None = None, application: str = "psql") -> str:
    """Run a statement with psql, and give what it prints; an error in it is a failure."""
    options = ("--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1")
    return program("psql", dsn, *options, f"--command={statement}", input=input, PGAPPNAME=application)


@dataclass(frozen=True)
class Change:
    """What a writer does to a database by its URL, and what every node reads before it and after it."""

    write: Callable[[str], object]
    read: Callable[[Node], Any]
    before: Any
    after: Any


#: Makes what a change needs below a folder.
Maker = Callable[[Cluster, str], Change]


def is_hot(cluster: Cluster, changes: Sequence[Change], alone: bool = True) -> None:
    """Every node gives what was before; where nothing else is under way, without a question to the database."""
    wait_settled(cluster)
    for _ in range(3):
        for change in changes:
            everywhere(cluster, change.read, change.before)
    if alone:
        forget_storage_calls(cluster)
        for change in changes:
            everywhere(cluster, change.read, change.before)
        # That a child is not there Guillotina asks the database itself.
        calls = [call for call in storage_calls(cluster) if call[-1] != LATER]
        assert not calls, "it is not cached"


def seconds_until_read(nodes: Sequence[Node], change: Change) -> float:
    """Wait until each of these nodes has read what is there now; the seconds until the last one has."""
    begin = time.monotonic()

    def waited(node: Node) -> float:
        def is_read() -> bool:
            try:
                return bool(change.read(node) == change.after)
            except AssertionError:  # one of the requests was not answered with 200 yet
                return False

        wait_for(is_read, f"{node.name} to read {change.after!r}", READ_TIMEOUT)
        return time.monotonic() - begin

    return max(at_once([partial(waited, node) for node in nodes]))


def notes(cluster: Cluster) -> int:
    """How many notes lie in the database."""
    with database_transaction(cluster) as cursor:
        cursor.execute("SELECT count(*) FROM groupcache_outside_writes")
        return int(cursor.fetchone()[0])


def wait_noted_by_all(cluster: Cluster) -> None:
    """Wait until no note is left: every process has applied them all."""
    wait_for(lambda: notes(cluster) == 0, "the notes to be deleted")


def wait_deleted(cluster: Cluster, oid: str) -> None:
    """Wait until a vacuum has deleted an object."""
    wait_for(lambda: not is_in_database(cluster, oid), f"{oid} to be deleted")


# --- changes


def _twins(cluster: Cluster, folder: str) -> tuple[str, str, str]:
    """An item, its uid, and the uid of another item, in another folder, that has the state which it gets."""
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


def copied(oid: str, twin: str) -> str:
    """The statement that gives an object the state of another one, and leaves its `tid`."""
    return f"UPDATE objects SET state = (SELECT state FROM objects WHERE zoid = '{twin}') WHERE zoid = '{oid}'"


def upsert(cluster: Cluster, folder: str) -> Change:
    item, oid, twin = _twins(cluster, folder)
    statement = f"""INSERT INTO objects (zoid, {_COLUMNS}) SELECT '{oid}', {_COLUMNS} FROM objects WHERE zoid = '{twin}'
        ON CONFLICT (zoid) DO UPDATE SET state = EXCLUDED.state"""
    return Change(partial(psql, statement=statement), lambda node: title(node, item), "before", "after")


def children(node: Node, folder: str) -> tuple[dict[str, str], int]:
    """The titles of a folder's children by id, over both ways to list them, and how many there are."""
    titles = json_of(node, f"{folder}/@titles")
    assert sorted(json_of(node, f"{folder}/@ids")) == sorted(titles)
    return titles, json_of(node, f"{folder}/@items")["total"]


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
    """What lies below is deleted by the database."""
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
    """`write` gets a URL and a SELECT of the row that is to be inserted."""
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


def rename(cluster: Cluster, folder: str) -> Change:
    oid = uid(cluster[0], new(cluster[0], "old", "renamed", parent=folder))
    return Change(
        partial(psql, statement=f"UPDATE objects SET id = '{LATER}' WHERE zoid = '{oid}'"),
        lambda node: ([node.http.get(f"{folder}/{id_}").status for id_ in ("old", LATER)], children(node, folder)),
        ([200, 404], ({"old": "renamed"}, 1)),
        ([404, 200], ({LATER: "renamed"}, 1)),
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
    """Where triggers are silent that are not there for replicas too: pg_restore and replication set this."""
    item, oid, twin = _twins(cluster, folder)
    statement = f"SET session_replication_role = replica; {copied(oid, twin)}"
    # In one string they are one transaction, whatever lies between.
    return Change(partial(psql, statement=statement), lambda node: title(node, item), "before", "after")


def many_statements(cluster: Cluster, folder: str) -> Change:
    """One transaction with a statement that fails in a savepoint, and one that is committed."""
    item, oid, twin = _twins(cluster, folder)
    statement = f"""DO $$BEGIN
        BEGIN DELETE FROM objects WHERE zoid = '{oid}'; RAISE 'not so'; EXCEPTION WHEN raise_exception THEN NULL; END;
        {copied(oid, twin)};
    END$$"""
    return Change(partial(psql, statement=statement), lambda node: title(node, item), "before", "after")


CHANGES: Final[dict[str, Maker]] = {
    maker.__name__: maker
    for maker in (
        *(state_with_its_tid, state_alone, upsert, deletion, cascade, insertion, copy, move, rename, annotation, bulk),
        *(as_a_replica, many_statements),
    )
}
