"""The triggers that write notes are made beside a running site: they wait for its writers, and not these for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from guillotina_groupcache.database.triggers import uninstall
from harness.cluster import Cluster
from harness.local import wait_for
from harness.postgres import PostgresServer
from tests.cluster import outside
from tests.cluster.conftest import running_cluster
from tests.cluster.outside import psql
from tests.cluster.outside_changes import CHANGES
from tests.cluster.steps import (
    database_role,
    everywhere,
    forget_storage_calls,
    new,
    storage_calls,
    title,
    title_everywhere,
    uid,
)

#: How long a writer waits before it fails: far longer than the nodes may wait for the table.
PATIENCE = "SET statement_timeout = '5s'"
#: Writes while the triggers cannot be made.
WRITES = 40
UNINSTALL = ";".join(uninstall("public", "public.objects"))
TRIES = 20
#: What a node says once when it may not make triggers, or cannot yet.
MAY_NOT, CANNOT = "from outside, as by psql, is seen when `ttl` is over", "triggers cannot be made yet"


@pytest.fixture(scope="module")
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    with running_cluster(postgres) as cluster:
        wait_for(lambda: len(outside.triggers(cluster)) == 5, "the triggers")
        yield cluster


def said(cluster: Cluster, text: str) -> list[int]:
    return [node.log().count(text) for node in cluster.nodes]


def without_triggers(cluster: Cluster, holder: Any, oid: str) -> None:
    """Remove everything, and begin to write in a long transaction before a node has made it again."""
    for _ in range(TRIES):
        psql(cluster.dsn, UNINSTALL)
        with holder.cursor() as cursor:
            cursor.execute("UPDATE objects SET part = part WHERE zoid = %s", (oid,))
        if not outside.triggers(cluster):
            return
        holder.rollback()
    raise AssertionError("the nodes were always faster")


def test_they_wait_for_a_long_transaction(cluster: Cluster) -> None:
    """All serve meanwhile and write, also who starts then; others write too, and none for long waits for the nodes."""
    held = new(cluster[0], "held", "held")
    changes = [CHANGES[name](cluster, new(cluster[0], name, type_="Folder")) for name in CHANGES]
    outside.is_hot(cluster, changes)
    oid = uid(cluster[0], held)
    with closing(psycopg2.connect(cluster.dsn)) as holder:
        without_triggers(cluster, holder, oid)
        newcomer = cluster.add_node()
        newcomer.start()
        newcomer.wait_ready()
        cluster.wait_whole()
        for number in range(WRITES):
            item = new(cluster[number % 4], f"meanwhile-{number}", "before")
            psql(cluster.dsn, f"{PATIENCE}; UPDATE objects SET part = part WHERE zoid = '{uid(cluster[0], item)}'")
            assert cluster[number % 4].http.patch(item, {"title": "after"}).status == 204
            title_everywhere(cluster, item, "after")
        for change in changes:
            change.write(cluster.dsn)
        wait_for(lambda: said(cluster, CANNOT) == [1] * 4, "all to say that they wait")
        assert outside.triggers(cluster) == {}
        holder.commit()
    wait_for(lambda: set(outside.triggers(cluster).values()) == {"A"}, "the triggers to be made")
    # Who makes them notes that everything may have been written meanwhile.
    for change in changes:
        outside.seconds_until_read(cluster.nodes, change)
    assert said(cluster, CANNOT) == [1] * 4, "said more than once"
    assert said(cluster, "bypassing: reads go to the database") == [0] * 4


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER groupcache_update ON objects",
        "ALTER TABLE objects DISABLE TRIGGER groupcache_update",
        # As a restore without triggers leaves it.
        "ALTER TABLE objects DISABLE TRIGGER ALL; ALTER TABLE objects ENABLE TRIGGER ALL",
        "DROP FUNCTION groupcache_note_outside_write CASCADE",
        UNINSTALL,
    ],
    ids=["dropped", "disabled", "enabled-for-origin", "function", "everything"],
)
def test_what_is_missing_is_made_again(cluster: Cluster, statement: str, request: pytest.FixtureRequest) -> None:
    """And what was written meanwhile is read."""
    folder = new(cluster[0], request.node.callspec.id, type_="Folder")
    meanwhile, later = (
        CHANGES["as_a_replica"](cluster, new(cluster[0], id_, type_="Folder", parent=folder)) for id_ in ("1", "2")
    )
    outside.wait_noted_by_all(cluster)
    outside.is_hot(cluster, [meanwhile, later])
    psql(cluster.dsn, statement)
    meanwhile.write(cluster.dsn)
    outside.seconds_until_read(cluster.nodes, meanwhile)
    wait_for(lambda: list(outside.triggers(cluster).values()) == ["A"] * 5, "the triggers to be made")
    outside.wait_noted_by_all(cluster)
    outside.is_hot(cluster, [later])
    later.write(cluster.dsn)
    outside.seconds_until_read(cluster.nodes, later)


def test_they_are_enabled_again_as_they_were(cluster: Cluster) -> None:
    """What was written while they were disabled is read, and stays, though nobody had to make them again."""
    folder = new(cluster[0], "as-they-were", type_="Folder")
    change = CHANGES["as_a_replica"](cluster, folder)
    outside.wait_noted_by_all(cluster)
    outside.is_hot(cluster, [change])
    names = list(outside.triggers(cluster))
    psql(cluster.dsn, "ALTER TABLE objects DISABLE TRIGGER USER")
    change.write(cluster.dsn)
    with closing(psycopg2.connect(cluster.dsn)) as holder, holder.cursor() as cursor:
        # No node comes in between: it would have to wait for this transaction.
        cursor.execute("LOCK TABLE objects IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute("; ".join(f"ALTER TABLE objects ENABLE ALWAYS TRIGGER {name}" for name in names))
        holder.commit()

    def is_cached() -> bool:
        forget_storage_calls(cluster)
        for node in cluster.nodes:
            change.read(node)
        return not storage_calls(cluster)

    wait_for(lambda: all(change.read(node) == change.after for node in cluster.nodes), "all to read it")
    wait_for(is_cached, "all to serve from the cache")
    everywhere(cluster, change.read, change.after)


def test_a_user_who_may_make_none(cluster: Cluster) -> None:
    """The site works as without them, and says so once."""
    for node in cluster.nodes:
        node.stop()
    psql(cluster.dsn, UNINSTALL)
    with database_role(cluster) as role:
        psql(
            cluster.dsn,
            f"""GRANT ALL ON SCHEMA public TO {role};
            GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role};
            GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
            REVOKE TRIGGER ON objects FROM {role}""",
        )
        url = urlsplit(cluster.dsn)
        dsn = url._replace(netloc=f"{role}:{role}@{url.hostname}:{url.port}").geturl()
        with Cluster(dsn) as limited:
            item, other = new(limited[0], "limited", "first"), new(limited[0], "other", "other")
            for number, node in enumerate([*limited.nodes, limited[0]]):
                assert node.http.patch(item, {"title": f"{number}"}).status == 204
                title_everywhere(limited, item, f"{number}")
            wait_for(lambda: said(limited, MAY_NOT) == [1] * 3, "all to say that they may not")
            psql(cluster.dsn, outside.copied(uid(limited[0], other), uid(limited[0], item)))
            # What they cannot hear of they serve as before, until it is said.
            assert limited[1].http.post("/db/c/@cache-clear").status == 200
            everywhere(limited, lambda node: title(node, other), "3")
            assert outside.triggers(cluster) == {}
            assert said(limited, MAY_NOT) == [1] * 3, "said more than once"
            assert said(limited, "bypassing: reads go to the database") == [0] * 3
