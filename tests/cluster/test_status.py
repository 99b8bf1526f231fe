"""`guillotina groupcache-status` beside real servers: it finds every fault, and nothing else."""

from __future__ import annotations

import json
from typing import Any

from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import Node
from tests.cluster.steps import database_transaction, member_rows, new, title_everywhere, uid

RIGHT, WRONG, UNKNOWN = 0, 1, 2


def status(node: Node, *arguments: str) -> tuple[int, str]:
    done = node.run_command("groupcache-status", *arguments)
    return done.returncode, done.stdout.decode()


def as_json(node: Node) -> tuple[int, dict[str, Any]]:
    code, output = status(node, "--json")
    found: dict[str, Any] = json.JSONDecoder().raw_decode(output[output.index("{\n") :])[0]  # the log comes before it
    return code, found


def test_nothing_is_wrong(cluster: Cluster) -> None:
    item = new(cluster[0], "seen", "title")
    for _ in range(2):
        title_everywhere(cluster, item, "title")
    code, output = status(cluster[0])
    assert code == RIGHT and "Nothing is wrong." in output, output
    for node in cluster.nodes:
        (line,) = [line for line in output.splitlines() if line.startswith(f"{node.address} ")]
        assert " in " in line and " cache " in line and "?" not in line
    code, found = as_json(cluster[1])
    assert code == RIGHT and found["wrong"] == []
    assert {member["address"] for member in found["members"]} == {node.address for node in cluster.nodes}
    assert len({member["versions"] for member in found["members"]}) == 1
    assert member_rows(cluster, "address = ''") == 0, "its row stays behind"
    assert all("is marked out" not in node.log() for node in cluster.nodes), "it disturbs the cluster"


def test_a_stopped_and_a_killed_process_are_named(cluster: Cluster) -> None:
    asked, stopped, killed = cluster.nodes
    killed.kill()
    stopped.pause()
    try:
        code, found = as_json(asked)
        assert code == WRONG
        report = "\n".join(found["wrong"])
        assert f"{stopped.address} " in report, report
        assert f"{killed.address} is out: " in report and "it has ended" in report, report
        assert f"{asked.address} has been bypassing" not in report
    finally:
        stopped.resume()
    cluster.start(killed)

    def clean() -> bool:
        # The row of the killed one stays for a minute.
        with database_transaction(cluster) as cursor:
            cursor.execute("DELETE FROM groupcache_members WHERE state = 'out'")
        return as_json(asked)[1]["wrong"] == []

    wait_for(clean, "nothing to be wrong again")


def test_a_process_that_does_not_serve_says_why(cluster: Cluster) -> None:
    with database_transaction(cluster) as cursor:
        cursor.execute("UPDATE groupcache_members SET state = 'out', reason = 'the operator' WHERE address <> ''")
    for node in cluster.nodes:
        wait_for(lambda node=node: "it was put out (the operator)" in node.log(), "it to notice")
    cluster.wait_whole()
    assert status(cluster[0])[0] == RIGHT


def test_an_outside_writer_is_named(cluster: Cluster) -> None:
    item = new(cluster[0], "past-the-cache", "before")
    written = "UPDATE objects SET state = state || ' ' WHERE zoid = %s"
    with database_transaction(cluster) as cursor:
        cursor.execute("SET LOCAL application_name = 'a script at night'")
        cursor.execute(written, (uid(cluster[0], item),))

    def rows() -> list[dict[str, Any]]:
        return [row for row in as_json(cluster[0])[1]["outside_writes"] if row["application"] == "a script at night"]

    (row,) = wait_for(rows, "the script to be named")
    assert (row["notes"], row["rows"]) == (1, 1)
    code, output = status(cluster[1])
    assert code == RIGHT and "a script at night" in output, output


def test_our_own_connections_have_a_name(cluster: Cluster) -> None:
    """There is one per process, and now and then another one for a moment, whatever the pool's are called."""

    def named() -> bool:
        with database_transaction(cluster) as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'guillotina_groupcache'"
            )
            return bool(cursor.fetchone() == (len(cluster.nodes),))

    wait_for(named, "one connection per process to have the name")


def test_without_a_cluster_there_is_no_status(cluster: Cluster, database: str) -> None:
    alone = Node("alone", database, cluster.folder, {"peers": []})
    code, output = status(alone)
    assert code == UNKNOWN and "there is no cluster to ask" in output, output
    beside = Node("beside", cluster.dsn, cluster.folder, {"peers": []})
    code, output = status(beside)
    assert code == UNKNOWN and output.splitlines()[-1].startswith("guillotina_groupcache: groupcache.peers: [] is for")
    nowhere = Node("nowhere", "postgresql://postgres:postgres@127.0.0.1:1/none", cluster.folder, {})
    code, output = status(nowhere)
    assert code == UNKNOWN and "groupcache-status: " in output, output
