"""The triggers that write notes are created beside a running site: they wait for its writers, not vice versa."""

from __future__ import annotations

from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from guillotina_groupcache.database.triggers import uninstall
from harness.cluster import Cluster
from harness.local import wait_for
from tests.cluster import outside
from tests.cluster.outside import psql
from tests.cluster.outside_changes import CHANGES
from tests.cluster.steps import (
    database_role,
    everywhere,
    forget_storage_calls,
    new,
    storage_calls,
    times_logged,
    title,
    title_everywhere,
    uid,
)

#: How long a writer waits before it fails: far longer than a node may hold the table's lock.
PATIENCE = "SET statement_timeout = '5s'"
#: Writes while the triggers cannot be created.
WRITES = 40
UNINSTALL = ";".join(uninstall("public", "public.objects"))
TRIES = 20
#: Log lines of a node that may not create triggers, or cannot yet.
MAY_NOT, CANNOT = "from outside, as by psql, is seen when `ttl` is over", "triggers cannot be made yet"


@pytest.fixture(scope="module")
def cluster(cluster: Cluster) -> Cluster:
    """The module's cluster, once its triggers are there."""
    wait_for(lambda: len(outside.triggers(cluster)) == 5, "the triggers")
    return cluster


def without_triggers(cluster: Cluster, holder: Any, oid: str) -> None:
    """Remove everything, and begin to write in a long transaction before a node has created it again."""
    for _ in range(TRIES):
        psql(cluster.dsn, UNINSTALL)
        with holder.cursor() as cursor:
            cursor.execute("UPDATE objects SET part = part WHERE zoid = %s", (oid,))
        if not outside.triggers(cluster):
            return
        holder.rollback()
    raise AssertionError("the nodes were always faster")


def test_they_wait_for_a_long_transaction(cluster: Cluster) -> None:
    """All nodes serve and write meanwhile, also one that starts then; outside writers never wait long for the nodes."""
    held = new(cluster[0], "held", "held")
    changes = [CHANGES[name](cluster, new(cluster[0], name, type_="Folder")) for name in CHANGES]
    outside.is_hot(cluster, changes)
    oid = uid(cluster[0], held)
    with closing(psycopg2.connect(cluster.dsn)) as holder:
        without_triggers(cluster, holder, oid)
        cluster.start(cluster.add_node())
        for number in range(WRITES):
            item = new(cluster[number % 4], f"meanwhile-{number}", "before")
            psql(cluster.dsn, f"{PATIENCE}; UPDATE objects SET part = part WHERE zoid = '{uid(cluster[0], item)}'")
            assert cluster[number % 4].http.patch(item, {"title": "after"}).status == 204
            title_everywhere(cluster, item, "after")
        for change in changes:
            change.write(cluster.dsn)
        wait_for(lambda: times_logged(cluster, CANNOT) == [1] * 4, "all to log that they wait")
        assert outside.triggers(cluster) == {}
        holder.commit()
    wait_for(lambda: set(outside.triggers(cluster).values()) == {"A"}, "the triggers to be created")
    # The node that creates them notes that everything may have been written meanwhile.
    for change in changes:
        outside.seconds_until_read(cluster.nodes, change)
    assert times_logged(cluster, CANNOT) == [1] * 4, "logged more than once"
    assert times_logged(cluster, "bypassing: reads go to the database") == [0] * 4


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER groupcache_update ON objects",
        "ALTER TABLE objects DISABLE TRIGGER groupcache_update",
        # A restore without triggers leaves it so.
        "ALTER TABLE objects DISABLE TRIGGER ALL; ALTER TABLE objects ENABLE TRIGGER ALL",
        "DROP FUNCTION groupcache_note_outside_write CASCADE",
        UNINSTALL,
    ],
    ids=["dropped", "disabled", "enabled-for-origin", "function", "everything"],
)
def test_what_is_missing_is_created_again(cluster: Cluster, statement: str, request: pytest.FixtureRequest) -> None:
    """What was written meanwhile is read."""
    folder = new(cluster[0], request.node.callspec.id, type_="Folder")
    meanwhile, later = (
        CHANGES["as_a_replica"](cluster, new(cluster[0], id_, type_="Folder", parent=folder)) for id_ in ("1", "2")
    )
    outside.wait_noted_by_all(cluster)
    outside.is_hot(cluster, [meanwhile, later])
    psql(cluster.dsn, statement)
    meanwhile.write(cluster.dsn)
    outside.seconds_until_read(cluster.nodes, meanwhile)
    wait_for(lambda: list(outside.triggers(cluster).values()) == ["A"] * 5, "the triggers to be created")
    outside.wait_noted_by_all(cluster)
    outside.is_hot(cluster, [later])
    later.write(cluster.dsn)
    outside.seconds_until_read(cluster.nodes, later)


def test_they_are_enabled_again_as_they_were(cluster: Cluster) -> None:
    """What was written while they were disabled is read, and stays, though no node had to create them again."""
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


def test_a_user_that_may_create_none(cluster: Cluster) -> None:
    """The site works without them, and logs so once."""
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
            wait_for(lambda: times_logged(limited, MAY_NOT) == [1] * 3, "all to log that they may not")
            psql(cluster.dsn, outside.copied(uid(limited[0], other), uid(limited[0], item)))
            # They go on serving the old state of what they cannot learn of, until the cache is cleared.
            assert limited[1].http.post("/db/c/@cache-clear").status == 200
            everywhere(limited, lambda node: title(node, other), "3")
            assert outside.triggers(cluster) == {}
            assert times_logged(limited, MAY_NOT) == [1] * 3, "logged more than once"
            assert times_logged(limited, "bypassing: reads go to the database") == [0] * 3
