"""What an operator sees and does: `@cache-stats`, `@cache-clear`, Guillotina's own counters and Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from harness.client import CONTAINER
from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import Node
from tests.cluster.steps import (
    change_title,
    everywhere,
    mark,
    new,
    title,
    title_everywhere,
    uid,
    wait_settled,
)
from tests.oracle_fixtures import Watch

COUNTERS = {
    "gets",
    "hits",
    "local_loads",
    "load_errors",
    "deduplicated_loads",
    "peer_loads",
    "peer_errors",
    "bypasses",
    "main",
    "hot",
    "events",
    "buckets_in_doubt",
}


def test_stats_of_this_process_and_of_every_peer(cluster: Cluster) -> None:
    alone = cluster[0].http.stats()
    assert alone.keys() >= COUNTERS
    assert "peers" not in alone
    together = cluster[0].http.stats(cluster=True)
    assert together["address"] == cluster[0].address
    assert {peer["address"] for peer in together["peers"]} == {node.address for node in cluster.nodes[1:]}
    for peer in together["peers"]:
        assert peer.keys() >= COUNTERS
        assert peer["serving"]


def test_hits_are_counted_by_source(cluster: Cluster) -> None:
    item = new(cluster[0], "counted")
    wait_settled(cluster)
    for node in cluster.nodes:
        # A note may come in between, such as that of the triggers' creation, and then everything is loaded again.
        wait_for(lambda node=node: _reads_only_memory(node, item), "a read from memory only")
    wait_for(lambda: _has_near_hit(cluster[1], item), "a near hit")
    (seen,) = [peer for peer in cluster[0].http.stats(cluster=True)["peers"] if peer["address"] == cluster[1].address]
    assert seen["hits"]["near"] == seen["near"]["hits"] == cluster[1].http.stats()["near"]["hits"] > 0


def _has_near_hit(node: Node, path: str) -> bool:
    title(node, path)
    return int(node.http.stats()["near"]["hits"]) > 0


def _reads_only_memory(node: Node, path: str) -> bool:
    before = node.http.stats()
    title(node, path)
    after = node.http.stats()
    hits = [sum(stats["hits"][source] for source in ("own", "hot", "near")) for stats in (before, after)]
    return bool(
        after["hits"]["database"] == before["hits"]["database"]
        and after["gets"] - before["gets"] == hits[1] - hits[0] > 0
    )


def test_guillotinas_own_counters_are_true(cluster: Cluster) -> None:
    item = new(cluster[0], "with-headers", "some title")
    assert cluster[0].http.post(f"{CONTAINER}/@cache-clear").status == 200
    wait_settled(cluster)
    # The object and its annotation `default` are cold, its ancestors are warm.
    everywhere(cluster, lambda node: node.http.get(f"{CONTAINER}/@cache-stats").json()["serving"], True)
    cold, warm = _counters(cluster[0], item), _counters(cluster[0], item)
    assert cold["misses"] == cold["stored"] == 2
    assert warm["misses"] == warm["stored"] == 0
    assert warm["hits"] == cold["hits"] + 2
    # At another node they come from the owner, or are hot copies: hits as well.
    assert _counters(cluster[1], item) == warm


def _counters(node: Node, path: str) -> dict[str, int]:
    headers = node.http.get(path, headers={"X-Debug": "1"}).headers
    return {name: int(headers[f"xg-cache-{name}"]) for name in ("hits", "misses", "stored")}


def test_clear_bumps_everything_at_every_node(cluster: Cluster, oracle: Watch) -> None:
    items = [new(cluster[0], f"cleared-{i}", "aaaa") for i in range(3)]
    oids = [uid(cluster[0], item) for item in items]
    unnoticed = mark(cluster)  # otherwise every node would learn of the change with its next view
    for i, (old, changed) in enumerate((("aaaa", "bbbb"), ("bbbb", "cccc"), ("cccc", "dddd"))):
        wait_settled(cluster)
        for item, oid in zip(items, oids, strict=True):
            title_everywhere(cluster, item, old)
            change_title(cluster, oid, old, changed, unnoticed)
        for item in items:
            title_everywhere(cluster, item, old)
        assert cluster[i].http.post(f"{CONTAINER if i else ''}/@cache-clear").status == 200
        for item in items:
            title_everywhere(cluster, item, changed)
    assert all("UPDATE objects SET state = decode" in fault for fault in oracle.take()), (
        "the test itself has written these"
    )


CALLS = [("GET", "@cache-stats"), ("GET", "@cache-stats?cluster=true"), ("POST", "@cache-clear")]


@pytest.mark.parametrize("place", ["", CONTAINER])
@pytest.mark.parametrize(("method", "name"), CALLS)
def test_both_need_the_permission(cluster: Cluster, method: str, name: str, place: str) -> None:
    path = f"{place}/{name}"
    assert cluster[0].http.request(method, path, user=None).status == 401
    assert cluster[0].http.request(method, path, user="root:wrong").status == 401
    assert cluster[0].http.request(method, path).status == 200


def test_a_manager_of_a_container_sees_only_numbers(cluster: Cluster) -> None:
    """No host, address, namespace, database or application of the site is shown, of this process or of a peer."""
    manage = [{"role": "guillotina.Anonymous", "permission": "guillotina.CacheManage", "setting": "Allow"}]
    view = [{"role": "guillotina.Anonymous", "permission": "guillotina.AccessContent", "setting": "Allow"}]
    assert cluster[0].http.post(f"{CONTAINER}/@sharing", {"roleperm": manage + view}).status == 200
    try:
        for node in cluster.nodes:
            wait_for(lambda node=node: node.http.get(f"{CONTAINER}/@cache-stats", user=None).status == 200, "the right")
        for user in (None, "root:admin"):
            answer = cluster[0].http.get(f"{CONTAINER}/@cache-stats?cluster=true", user=user)
            assert answer.status == 200 and not set(_texts(answer.json()))
            assert answer.json()["gets"] > 0 and answer.json()["main"]["bytes"] >= 0
            assert [peer["gets"] > 0 for peer in answer.json()["peers"]] == [True, True]
            assert not any(str(node.address).encode() in answer.body for node in cluster.nodes)
        assert cluster[0].http.get("/@cache-stats", user=None).status == 401
        assert cluster[0].http.post("/@cache-clear", user=None).status == 401
        found = set(_texts(cluster[0].http.stats(cluster=True)))
        assert found >= {str(node.address) for node in cluster.nodes}
    finally:
        for setting in manage + view:
            setting["setting"] = "Unset"
        assert cluster[0].http.post(f"{CONTAINER}/@sharing", {"roleperm": manage + view}).status == 200


def _texts(value: object) -> Iterator[str]:
    """The strings in JSON, except for the names of fields."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(inner)


def test_a_reader_of_the_container_may_not_see_the_cache(cluster: Cluster) -> None:
    visible = [
        {"role": "guillotina.Anonymous", "permission": permission, "setting": "Allow"}
        for permission in ("guillotina.AccessContent", "guillotina.ViewContent")
    ]
    assert cluster[0].http.post(f"{CONTAINER}/@sharing", {"roleperm": visible}).status == 200
    for node in cluster.nodes:
        assert node.http.get(CONTAINER, user=None).status == 200
        assert node.http.get(f"{CONTAINER}/@cache-stats", user=None).status == 401
        assert node.http.post(f"{CONTAINER}/@cache-clear", user=None).status == 401


def test_prometheus_metrics(cluster: Cluster) -> None:
    item = new(cluster[0], "measured")
    title_everywhere(cluster, item, "")
    title_everywhere(cluster, item, "")
    for node in cluster.nodes:
        text = node.http.get("/@metrics").body.decode()
        stats = node.http.stats()
        found = dict(re.findall(r"^(guillotina_cache_groupcache_\S+) (\S+)$", text, re.MULTILINE))
        assert 0 < float(found["guillotina_cache_groupcache_gets_total"]) <= stats["gets"]
        for source, count in stats["hits"].items():
            assert float(found[f'guillotina_cache_groupcache_hits_total{{source="{source}"}}']) <= count
        assert float(found["guillotina_cache_groupcache_serving"]) == 1
        assert float(found['guillotina_cache_groupcache_items{store="main"}']) == stats["main"]["items"]
        assert float(found['guillotina_cache_groupcache_members{state="in"}']) == len(cluster.nodes) - 1
        assert 0 < float(found["guillotina_cache_groupcache_since_seconds"]) <= stats["since"]
        assert "guillotina_cache_groupcache_bypassing{" not in text
        assert "guillotina_cache_ops_total" in text
