"""An outside writer neither fails nor waits because of notes: not for another writer, nor where there is no table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ, ISOLATION_LEVEL_SERIALIZABLE

from harness.cluster import Cluster
from harness.local import wait_for
from tests.cluster import outside
from tests.cluster.outside import LEASE, Change, copied, psql
from tests.cluster.steps import (
    database_role,
    database_transaction,
    is_any_waiting,
    new,
    title,
    title_everywhere,
    uid,
    wait_settled,
)

WRITERS = 4
#: How long a writer waits for another one before it fails; none should have to wait.
PATIENCE = "5s"
LEVELS = {"read-committed": None, "repeatable": ISOLATION_LEVEL_REPEATABLE_READ, "serial": ISOLATION_LEVEL_SERIALIZABLE}

#: A statement that waits for a lock, for `is_any_waiting`.
WAITS = "wait_event_type = 'Lock'"


class Item:
    """An item that all nodes have in memory, and the statements that change it."""

    def __init__(self, cluster: Cluster, folder: str, name: str) -> None:
        self.path = new(cluster[0], name, "before", parent=folder)
        twin = new(cluster[0], f"{name}-twin", "after", parent=folder)
        self.oid, self.twin = uid(cluster[0], self.path), uid(cluster[0], twin)
        self.statement = copied(self.oid, self.twin)
        # An insertion of another row has all its values, so that the statement does not read the table.
        columns = "tid, state_size, part, resource, parent_id, type, state"
        values = psql(
            cluster.dsn,
            "SELECT format('%L, %L, %L, %L, %L, %L, %L, %L, %L', left(zoid, -32) || md5(zoid), id || '-new',"
            f" {columns}) FROM objects WHERE zoid = '{self.oid}'",
        )
        self.insertion = f"INSERT INTO objects (zoid, id, {columns}) VALUES ({values.strip()})"
        for _ in range(2):
            title_everywhere(cluster, self.path, "before")

    def is_read(self, cluster: Cluster, wanted: str = "after") -> None:
        """Wait until every node has read it."""
        outside.seconds_until_read(cluster.nodes, Change(str, lambda node: title(node, self.path), "", wanted))


@pytest.fixture
def item(cluster: Cluster, request: pytest.FixtureRequest) -> Callable[[], Item]:
    """Makes items below a folder of the test."""
    folder = new(cluster[0], request.node.name.replace("[", "-").replace("]", ""), type_="Folder")
    made: list[Item] = []

    def make() -> Item:
        made.append(Item(cluster, folder, f"item-{len(made)}"))
        return made[-1]

    return make


@pytest.fixture(autouse=True)
def all_serve(cluster: Cluster) -> Iterator[None]:
    """No node bypasses meanwhile: one that does reads rightly whatever happens to the notes."""
    before = [node.log().count("bypassing: reads go to the database") for node in cluster.nodes]
    yield
    cluster.wait_whole()
    assert [node.log().count("bypassing: reads go to the database") for node in cluster.nodes] == before


@pytest.fixture
def writers(cluster: Cluster) -> Iterator[list[Any]]:
    """Connections that do not wait for each other's locks."""
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(psycopg2.connect(cluster.dsn))) for _ in range(WRITERS)]
        for connection in connections:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = '{PATIENCE}'")
            connection.autocommit = False
        yield connections


def execute(connection: Any, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("level", LEVELS)
def test_long_transactions_do_not_wait_for_each_other(
    cluster: Cluster, item: Callable[[], Item], writers: list[Any], level: str
) -> None:
    """Nor do members wait, and each write is read when its transaction has ended."""
    items = [item() for _ in writers]
    wait_settled(cluster)
    for writer, own in zip(writers, items, strict=True):
        writer.set_session(isolation_level=LEVELS[level])
        # It reads nothing, so that serializable transactions could fail only because of the notes.
        execute(writer, own.insertion)
    others = item()
    assert cluster[0].http.patch(others.path, {"title": "member"}).status == 204
    title_everywhere(cluster, others.path, "member")
    for writer in writers:
        writer.commit()
    for own in items:
        later = Change(str, lambda node, own=own: node.http.get(f"{own.path}-new").status, 404, 200)  # type: ignore[misc]
        outside.seconds_until_read(cluster.nodes, later)


def test_a_locked_note(cluster: Cluster, item: Callable[[], Item], writers: list[Any]) -> None:
    """Members that read the notes do not wait for the lock either."""
    first, second = item(), item()
    outside.wait_noted_by_all(cluster)
    with closing(psycopg2.connect(cluster.dsn)) as holder:
        with database_transaction(cluster) as cursor:
            # No view can delete a note that is not committed.
            cursor.execute("LOCK TABLE groupcache_members")
            psql(cluster.dsn, first.statement)
            execute(holder, "SELECT 1 FROM groupcache_outside_writes FOR UPDATE")
        first.is_read(cluster)
        execute(writers[0], second.statement)
        writers[0].commit()
        second.is_read(cluster)
        # It can be deleted only when it is released, and a member that deletes notes must not wait for that.
        wait_for(lambda: outside.notes(cluster) == 1, "the other note to be deleted")
        time.sleep(LEASE)
        third = item()
        psql(cluster.dsn, third.statement)
        third.is_read(cluster)
        holder.commit()
    outside.wait_noted_by_all(cluster)


def test_a_user_that_may_write_only_objects(cluster: Cluster, item: Callable[[], Item]) -> None:
    changed = item()
    with database_role(cluster) as role:
        psql(cluster.dsn, f"GRANT SELECT, UPDATE ON objects TO {role}")
        psql(cluster.dsn, f"SET ROLE {role}; {changed.statement}")
        changed.is_read(cluster)


def test_a_search_path_of_the_writers_own(cluster: Cluster, item: Callable[[], Item]) -> None:
    """Functions and tables of the same names, in another schema, are not taken for the real ones."""
    changed = item()
    psql(
        cluster.dsn,
        f"""CREATE SCHEMA evil;
        CREATE FUNCTION evil.left(text, int) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'evil'; END$$;
        CREATE TEMP TABLE groupcache_outside_writes (id bigint);
        CREATE TEMP TABLE new_rows (zoid text);
        SET search_path = evil, pg_temp, public, pg_catalog;
        {changed.statement}""",
    )
    changed.is_read(cluster)
    psql(cluster.dsn, "DROP SCHEMA evil CASCADE")


def test_there_is_no_table_of_notes(cluster: Cluster, item: Callable[[], Item]) -> None:
    """It is created again, and then what was written meanwhile is read."""
    before, meanwhile, after = item(), item(), item()
    psql(cluster.dsn, before.statement)
    psql(cluster.dsn, f"DROP TABLE groupcache_outside_writes; {meanwhile.statement}")
    for changed in (before, meanwhile):
        changed.is_read(cluster)
    wait_for(lambda: is_there(cluster), "the table to be created again")
    psql(cluster.dsn, after.statement)
    after.is_read(cluster)


def is_there(cluster: Cluster) -> bool:
    with database_transaction(cluster) as cursor:
        cursor.execute("SELECT to_regclass('groupcache_outside_writes') IS NOT NULL")
        return bool(cursor.fetchone()[0])


def test_a_table_of_notes_that_is_dropped_between_two_writers(
    cluster: Cluster, item: Callable[[], Item], writers: list[Any]
) -> None:
    """The second writer has seen the table, and waits for the drop: it must not fail because of that."""
    first, second = item(), item()
    dropping, *_ = writers[1:]
    execute(dropping, "SET lock_timeout = 0")
    execute(writers[0], first.statement)
    with ThreadPoolExecutor(2) as threads:
        drop = threads.submit(execute, dropping, "DROP TABLE groupcache_outside_writes")
        wait_for(lambda: is_any_waiting(cluster, f"{WAITS} AND query LIKE 'DROP%'"), "the drop to wait")
        write = threads.submit(psql, cluster.dsn, second.statement)
        wait_for(
            lambda: write.done() or is_any_waiting(cluster, f"{WAITS} AND query LIKE 'UPDATE%'"), "a writer to wait"
        )
        writers[0].commit()
        drop.result()
        dropping.commit()
        write.result()
    for changed in (first, second):
        changed.is_read(cluster)
    wait_for(lambda: is_there(cluster), "the table to be created again")
