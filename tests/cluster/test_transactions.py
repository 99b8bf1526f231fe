"""Transactions that do not end with a plain commit, and reads before their end (R9, R11, R12)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from harness.cluster import Cluster
from harness.local import wait_for
from tests.cluster.steps import (
    at_once,
    change_title,
    database_transaction,
    everywhere,
    forget_storage_calls,
    held_at_gate,
    is_any_waiting,
    json_everywhere,
    json_of,
    new,
    status_everywhere,
    storage_calls,
    title,
    title_everywhere,
    uid,
    wait_settled,
)

#: A statement that waits, for `is_any_waiting`.
COMMIT_WAITS = "wait_event = 'advisory' AND query ILIKE 'COMMIT%'"


def test_a_transaction_that_fails_before_its_commit(cluster: Cluster) -> None:
    item = new(cluster[0], "aborted", "before")
    title_everywhere(cluster, item, "before")
    assert cluster[1].http.post(f"{item}/@abort").status == 400
    title_everywhere(cluster, item, "before")


def test_a_commit_is_announced_to_all_before_it_is_sent(cluster: Cluster) -> None:
    """During a COMMIT its object is in doubt at every node: read from the database and not stored (R3, R4)."""
    for i in range(3):
        item = new(cluster[0], f"announced-{i}", "before")
        oid = uid(cluster[0], item)
        title_everywhere(cluster, item, "before")
        wait_settled(cluster)
        with ThreadPoolExecutor(1) as thread, slow_commits(cluster, oid):
            write = thread.submit(cluster[i].http.patch, item, {"title": "after"})
            wait_for(partial(is_any_waiting, cluster, COMMIT_WAITS), "the COMMIT to wait")
            forget_storage_calls(cluster)
            for node in cluster.nodes:
                assert node.http.stats()["buckets_in_doubt"] > 0
                assert title(node, item) == title(node, item) == "before"
            reads = [call for call in storage_calls(cluster) if call[0] == "get_child" and call[2] == f"announced-{i}"]
            assert len(reads) == 2 * len(cluster.nodes)
            assert not write.done()
        assert write.result().status == 204
        title_everywhere(cluster, item, "after")


@contextmanager
def slow_commits(cluster: Cluster, oid: str) -> Iterator[None]:
    """Make commits of transactions that change the object wait in the database for the end of the block."""
    with database_transaction(cluster) as cursor:
        cursor.execute(
            "CREATE FUNCTION wait() RETURNS trigger AS"
            " $$BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END$$ LANGUAGE plpgsql;"
            "CREATE CONSTRAINT TRIGGER wait AFTER UPDATE ON objects DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW WHEN (NEW.zoid = %s) EXECUTE FUNCTION wait()",
            (oid,),
        )
    try:
        with database_transaction(cluster) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(1)")
            yield
    finally:
        with database_transaction(cluster) as cursor:
            cursor.execute("DROP FUNCTION wait CASCADE")


def test_a_commit_that_the_database_refuses(cluster: Cluster) -> None:
    """It was announced, so it has to be settled (R9), and its write must not be pushed."""
    item = new(cluster[0], "refused", "before")
    with database_transaction(cluster) as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger AS"
            " $$BEGIN IF NEW.id = 'refused' THEN RAISE 'refused'; END IF; RETURN NULL; END$$ LANGUAGE plpgsql;"
            "CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON objects"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    try:
        announced = cluster[1].http.stats()["events"]["announced"]
        assert cluster[1].http.patch(item, {"title": "after"}).status == 500
        assert cluster[1].http.stats()["events"]["announced"] == announced + 1
        title_everywhere(cluster, item, "before")
        wait_settled(cluster)
        title_everywhere(cluster, item, "before")
    finally:
        with database_transaction(cluster) as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")
    assert cluster[2].http.patch(item, {"title": "after"}).status == 204
    title_everywhere(cluster, item, "after")


def test_a_conflict_is_retried_with_what_the_other_wrote(cluster: Cluster) -> None:
    for i in range(3):
        item = new(cluster[0], f"conflict-{i}", "first")
        title_everywhere(cluster, item, "first")
        with held_at_gate(cluster[i], f"{item}/@append/conflict-{i}/+appended", f"conflict-{i}") as answers:
            assert cluster[(i + 1) % 3].http.patch(item, {"title": "second"}).status == 204
            title_everywhere(cluster, item, "second")
        (answer,) = answers
        assert answer.status == 200
        assert answer.headers["x-retry-transaction-count"] == "1"
        title_everywhere(cluster, item, "second+appended")


def test_writes_of_one_object_at_the_same_time(cluster: Cluster) -> None:
    item = new(cluster[0], "contended", "none")
    for i in range(10):
        texts = [f"round {i} node {j}" for j in range(3)]
        answers = at_once(
            [
                lambda node=node, text=text: node.http.patch(item, {"title": text})
                for node, text in zip(cluster.nodes, texts, strict=True)
            ]
        )
        written = [text for text, answer in zip(texts, answers, strict=True) if answer.status == 204]
        assert {answer.status for answer in answers} <= {204, 409}
        found = title(cluster[0], item)
        assert found in written
        title_everywhere(cluster, item, found)
        # After this nothing is cached, so that the database decides.
        assert cluster[0].http.get(f"{item}/@invalidate-cache").status == 200
        title_everywhere(cluster, item, found)


def test_invalidation_without_a_write(cluster: Cluster) -> None:
    item = new(cluster[0], "invalidated", "aaaa")
    oid = uid(cluster[0], item)
    for i, (old, changed) in enumerate((("aaaa", "bbbb"), ("bbbb", "cccc"), ("cccc", "dddd"))):
        wait_settled(cluster)
        title_everywhere(cluster, item, old)
        change_title(cluster, oid, old, changed)
        # Every node sees the change at the latest with its next view, but with the invalidation at once.
        assert cluster[i].http.get(f"{item}/@invalidate-cache").status == 200
        title_everywhere(cluster, item, changed)


def test_invalidation_before_the_commit(cluster: Cluster) -> None:
    """`content.move` calls `delete_all` before its commit: values that are cached in between must not stay."""
    folder = new(cluster[0], "moves", type_="Folder")
    for i in range(3):
        old, moved = new(cluster[0], f"old-{i}", f"object {i}", parent=folder), f"{folder}/new-{i}"
        with held_at_gate(cluster[i], f"{old}/@move/move-{i}/new-{i}", f"move-{i}") as answers:
            title_everywhere(cluster, old, f"object {i}")
            status_everywhere(cluster, moved, 404)
            everywhere(cluster, lambda node: f"old-{i}" in json_of(node, f"{folder}/@ids"), True)  # noqa: B023
        assert answers[0].status == 200
        status_everywhere(cluster, old, 404)
        title_everywhere(cluster, moved, f"object {i}")
        json_everywhere(cluster, f"{folder}/@titles", {f"new-{j}": f"object {j}" for j in range(i + 1)})


def test_uncommitted_rows_are_seen_only_by_their_transaction(cluster: Cluster) -> None:
    folder = new(cluster[0], "open", type_="Folder")
    for i in range(3):
        item = new(cluster[0], f"item-{i}", "committed", parent=folder)
        title_everywhere(cluster, item, "committed")
        with held_at_gate(cluster[i], f"{item}/@write-and-abort/open-{i}", f"open-{i}") as answers:
            title_everywhere(cluster, item, "committed")
        assert answers[0].status == 400
        assert answers[0].json()["seen"] == ["uncommitted"] * 3
        title_everywhere(cluster, item, "committed")
        everywhere(cluster, lambda node: json_of(node, f"{folder}/@titles")[f"item-{i}"], "committed")  # noqa: B023
