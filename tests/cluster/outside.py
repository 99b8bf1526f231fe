"""Outside writes: programs that speak SQL and announce nothing, and what every node must read after them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import Node
from harness.postgres_embedded import wheel_package
from tests.cluster.steps import (
    at_once,
    database_transaction,
    everywhere,
    forget_storage_calls,
    is_in_database,
    json_of,
    storage_calls,
    wait_settled,
)

#: The seconds of a lease: `guillotina_groupcache.settings.model.LEASE`.
LEASE: Final = 3.0
#: The id of an object that does not exist, or is elsewhere, before the write.
LATER: Final = "later"
#: Seconds until a node that still reads the old value counts as wrong: far more than a lease.
READ_TIMEOUT: Final = 20.0
#: Seconds until a program counts as hanging.
_PROGRAM_SECONDS: Final = 60.0


def program(name: str, *arguments: str, input: str | None = None, **environ: str) -> str:
    """Run a program of PostgreSQL, which must succeed, and return its output."""
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
    """Run a statement with psql, which must succeed, and return what it prints."""
    options = ("--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1")
    return program("psql", dsn, *options, f"--command={statement}", input=input, PGAPPNAME=application)


@dataclass(frozen=True)
class Change:
    """A change that is written to a database, by its URL, and what every node reads before and after it."""

    write: Callable[[str], object]
    read: Callable[[Node], Any]
    before: Any
    after: Any


def is_hot(cluster: Cluster, changes: Sequence[Change], alone: bool = True) -> None:
    """Check that every node reads the old value and, if nothing else is under way, does so without a database query."""
    if alone:
        wait_settled(cluster)
    for _ in range(3):
        for change in changes:
            everywhere(cluster, change.read, change.before)
    if alone:
        forget_storage_calls(cluster)
        for change in changes:
            everywhere(cluster, change.read, change.before)
        # Guillotina itself looks a missing child up in the database.
        calls = [call for call in storage_calls(cluster) if call[-1] != LATER]
        assert not calls, "it is not cached"


def seconds_until_read(nodes: Sequence[Node], change: Change) -> float:
    """Wait until each of these nodes has read the new value; return the seconds until the last one has."""
    begin = time.monotonic()

    def waited(node: Node) -> float:
        def is_read() -> bool:
            try:
                return bool(change.read(node) == change.after)
            except AssertionError:  # one of the requests is not answered with 200 yet
                return False

        wait_for(is_read, f"{node.name} to read {change.after!r}", READ_TIMEOUT)
        return time.monotonic() - begin

    return max(at_once([partial(waited, node) for node in nodes]))


def notes(cluster: Cluster) -> int:
    """Return how many notes the database holds."""
    with database_transaction(cluster) as cursor:
        cursor.execute("SELECT count(*) FROM groupcache_outside_writes")
        return int(cursor.fetchone()[0])


def triggers(cluster: Cluster) -> dict[str, str]:
    """Return the triggers of the objects table that write notes, with `pg_trigger.tgenabled`: when they fire."""
    with database_transaction(cluster) as cursor:
        cursor.execute(
            "SELECT tgname, tgenabled FROM pg_trigger"
            " WHERE tgrelid = 'objects'::regclass AND tgname LIKE '%groupcache%'"
        )
        return dict(cursor.fetchall())


def wait_noted_by_all(cluster: Cluster) -> None:
    """Wait until no note is left, as every process has applied them all."""
    wait_for(lambda: notes(cluster) == 0, "the notes to be deleted")


def wait_deleted(cluster: Cluster, oid: str) -> None:
    """Wait until a vacuum has deleted an object."""
    wait_for(lambda: not is_in_database(cluster, oid), f"{oid} to be deleted")


def children(node: Node, folder: str) -> tuple[dict[str, str], int]:
    """Return the titles of a folder's children by id, read in both ways, and their number."""
    titles = json_of(node, f"{folder}/@titles")
    assert sorted(json_of(node, f"{folder}/@ids")) == sorted(titles)
    return titles, json_of(node, f"{folder}/@items")["total"]


def copied(oid: str, twin: str) -> str:
    """Return the statement that gives an object the state of another one and leaves its `tid`."""
    return f"UPDATE objects SET state = (SELECT state FROM objects WHERE zoid = '{twin}') WHERE zoid = '{oid}'"
