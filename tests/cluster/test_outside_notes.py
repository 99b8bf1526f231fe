"""The notes of outside writes: one per statement, deleted when all have applied them, and bounded without members."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest

from guillotina_groupcache.database.notes_table import MAX_NOTES
from guillotina_groupcache.database.triggers import FEW_ROWS, MAX_PLACES
from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import Node
from tests.cluster import outside, outside_changes
from tests.cluster.outside import copied, notes, psql
from tests.cluster.outside_changes import CHANGES
from tests.cluster.steps import everywhere, new, title_everywhere, uid

#: Statements that are sent while no process runs, and the notes that they may leave.
STATEMENTS, MOST_NOTES = 3000, 1500
#: The same for statements that change many rows each, and the rows that the notes may name in all.
LARGE_STATEMENTS, ROWS = 25, 900
MOST_ROWS = MAX_PLACES + MAX_NOTES * FEW_ROWS


def counted(node: Node) -> dict[str, Any]:
    counters: dict[str, Any] = node.http.stats()["outside_writes"]
    return counters


def by_application(node: Node, name: str) -> dict[str, Any]:
    (found,) = [row for row in counted(node)["by_application"] if row["application"] == name] or [{}]
    return found


def member(cursor: Any, node: Node) -> str:
    """Return the state of the node's row in the members table; empty without one."""
    cursor.execute("SELECT state FROM groupcache_members WHERE address = %s", (node.address,))
    row = cursor.fetchone()
    return "" if row is None else str(row[0])


def test_a_statement_is_one_note(cluster: Cluster) -> None:
    """It names the application, has the number of rows, and is deleted when all have applied it."""
    outside.wait_noted_by_all(cluster)
    folder = new(cluster[0], "counted", type_="Folder")
    change = CHANGES["bulk"](cluster, folder)
    before = [counted(node) for node in cluster.nodes]
    # No process reads a note before it is committed.
    statement = f"UPDATE objects SET part = part + 1, tid = tid + 1000000 WHERE parent_id = '{uid(cluster[0], folder)}'"
    psql(cluster.dsn, statement, application="a migration")
    for node, old in zip(cluster.nodes, before, strict=True):
        wait_for(lambda node=node, old=old: counted(node)["applied"] == old["applied"] + 1, f"{node.name} to apply it")
        assert counted(node)["rows"] == old["rows"] + 2
        assert counted(node)["everything"] == old["everything"]
        seen = by_application(node, "a migration")
        assert (seen["notes"], seen["rows"]) == (1, 2)
    change.write(cluster.dsn)
    outside.seconds_until_read(cluster.nodes, change)
    outside.wait_noted_by_all(cluster)
    for node, old in zip(cluster.nodes, before, strict=True):
        assert counted(node)["applied"] == old["applied"] + 2
        assert counted(node)["rows"] == old["rows"] + 2 + outside_changes.BULK


def test_very_many_rows_are_everything(cluster: Cluster) -> None:
    """The writer does not wait until all of them are named."""
    folder = new(cluster[0], "very-many", type_="Folder")
    assert cluster[0].http.post(f"{folder}/@fill/1100").status == 200
    item = new(cluster[0], "hot", "hot")
    title_everywhere(cluster, item, "hot")
    before = [counted(node) for node in cluster.nodes]
    psql(cluster.dsn, f"DELETE FROM objects WHERE parent_id = '{uid(cluster[0], folder)}'")
    for node, old in zip(cluster.nodes, before, strict=True):
        wait_for(lambda node=node, old=old: counted(node)["applied"] > old["applied"], f"{node.name} to apply it")
        assert counted(node)["everything"] == old["everything"] + 1
        assert counted(node)["rows"] == old["rows"] + 1100
    everywhere(cluster, lambda node: node.http.get(f"{folder}/@ids").json(), [])
    title_everywhere(cluster, item, "hot")
    outside.wait_noted_by_all(cluster)


@pytest.mark.parametrize("ends", [False, True], ids=["continued", "killed"])
def test_a_note_stays_until_every_member_has_applied_it(cluster: Cluster, ends: bool) -> None:
    victim = cluster[2]
    change = CHANGES["state_alone"](cluster, new(cluster[0], f"stays-{ends}", type_="Folder"))
    outside.is_hot(cluster, [change])
    outside.wait_noted_by_all(cluster)
    victim.pause()
    try:
        change.write(cluster.dsn)
        outside.seconds_until_read(cluster.nodes[:2], change)
        if ends:
            victim.kill()
        with closing(psycopg2.connect(cluster.dsn)) as connection, connection.cursor() as cursor:
            connection.autocommit = True

            def is_deleted() -> bool:
                # In this order: a row that is out stays out until the process goes on.
                cursor.execute("SELECT count(*) FROM groupcache_outside_writes")
                left, state = cursor.fetchone()[0], member(cursor, victim)
                assert left or state in ("out", ""), "the note was deleted before all had applied it"
                return not left

            wait_for(is_deleted, "the note to be deleted")
    finally:
        victim.resume()
        if ends:
            victim.kill()
            cluster.start(victim)
    cluster.wait_whole()
    everywhere(cluster, change.read, change.after)


def test_writes_while_no_process_runs(cluster: Cluster) -> None:
    """Notes that no process reads are summed up; processes that start then read the new state, and delete the notes."""
    folder = new(cluster[0], "no-process", type_="Folder")
    item, twin = (new(cluster[0], id_, id_, parent=folder) for id_ in ("item", "twin"))
    oid, other = uid(cluster[0], item), uid(cluster[0], twin)
    title_everywhere(cluster, item, "item")
    many = new(cluster[0], "many", type_="Folder", parent=folder)
    assert cluster[0].http.post(f"{many}/@fill/{ROWS}").status == 200
    parent = uid(cluster[0], many)
    for node in cluster.nodes:
        node.stop()
    with closing(psycopg2.connect(cluster.dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for _ in range(LARGE_STATEMENTS):
            cursor.execute("UPDATE objects SET tid = tid + 1 WHERE parent_id = %s", (parent,))
        cursor.execute("SELECT coalesce(sum(jsonb_array_length(places)), 0) FROM groupcache_outside_writes")
        assert cursor.fetchone()[0] <= MOST_ROWS < LARGE_STATEMENTS * ROWS
        # Notes age by the time since they were written.
        for part in range(3):
            for _ in range(STATEMENTS // 3):
                cursor.execute("UPDATE objects SET tid = tid + 1 WHERE zoid = %s", (oid,))
            cursor.execute("UPDATE groupcache_outside_writes SET written = written - interval '1 hour'")
            assert notes(cluster) > 0, part
        cursor.execute(copied(oid, other))
    assert notes(cluster) <= MOST_NOTES
    cluster.start(cluster[0])
    cluster.start(*cluster.nodes[1:])
    title_everywhere(cluster, item, "twin")
    outside.wait_noted_by_all(cluster)
    title_everywhere(cluster, item, "twin")
