"""The steps of the demo after the start. The first line of a step's docstring is its title."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from demo.output import check, say, table
from demo.sources import COLUMNS, RARE, counters, get_items, item_path, sources, total, warm_up
from harness.client import CONTAINER
from harness.cluster import Cluster
from harness.local import wait_for
from harness.node import Node

ITEMS: Final = 300
#: Items whose reads are counted one by one.
SAMPLE: Final = 60
READERS: Final = 100
WRITES: Final = 50
#: Guillotina lists the children of a folder within its own GET up to this number.
LISTED: Final = 20
#: Messages that a node with two peers sends for a listing: three for single keys, one to each peer for the items,
#: one to the demo. Some heartbeats may come between.
MESSAGES: Final = 10


def write_items(cluster: Cluster) -> None:
    """Three hundred items are written at node1."""
    first = cluster[0]
    for number in range(ITEMS):
        _write(first, f"item-{number:03}", f"Title {number}")
    pushed = counters(cluster, first)["pushed"]
    say(
        f"{ITEMS} items are in {CONTAINER}. Each belongs to the cache of one node, its owner, which was given the"
        f" record right after the commit ({pushed} records under all their keys)."
    )
    check(pushed >= 2 * ITEMS, f"node1 has pushed {pushed} records, expected are at least {2 * ITEMS}")


def read_pushed(cluster: Cluster) -> None:
    """Read what was just written, without the database."""
    second = cluster[1]
    warm_up(cluster.nodes)
    ids = _ids(range(SAMPLE))
    answers, found = get_items(cluster, second, ids)
    _check_answers(answers, ids)
    say(
        f"{SAMPLE} of the items are read at node2 for the first time. What node2 owns is in its own memory; the"
        " rest comes from the owner, a peer. The database is not queried."
    )
    _show_sources([(f"{SAMPLE} GETs at node2", found)])
    check(found["database"] == 0 and found["own"] + found["peer"] == SAMPLE, f"the reads came from {dict(found)}")


def clear(cluster: Cluster) -> None:
    """Clear the cache of the whole cluster with one request."""
    answer = cluster[2].http.post(f"{CONTAINER}/@cache-clear")
    check(answer.status == 200, f"@cache-clear answered {answer.status}")
    say(
        "POST @cache-clear at node3 has bumped every version at all nodes: one event, however much is cached. So"
        " the next steps begin with an empty cache."
    )
    warm_up(cluster.nodes)


def read_cold(cluster: Cluster) -> None:
    """Read cold items everywhere: each is loaded once for the whole cluster."""
    ids = _ids(range(SAMPLE))
    rows = []
    before = total(cluster, "local_loads")
    for node, visit in ((0, "first"), (0, "again"), (1, "first"), (1, "again"), (2, "first"), (2, "again")):
        answers, found = get_items(cluster, cluster[node], ids)
        _check_answers(answers, ids)
        rows.append((f"{SAMPLE} GETs at node{node + 1}, {visit}", found))
    loads = total(cluster, "local_loads") - before
    say(f"The same {SAMPLE} items are read twice at each node. Where did each item come from?")
    _show_sources(rows)
    say(
        "First at node1: from the database, loaded by the item's owner. First at the others: from their own"
        " memory or a peer's. Again: what a peer owns is now here as a hot copy, so no request goes to another node."
        f" {loads} items were loaded from the database for {6 * SAMPLE} reads."
    )
    check(rows[0][1]["database"] == SAMPLE, f"node1 read {dict(rows[0][1])} cold")
    for name, found in rows[1:]:
        near = "hot" if name.endswith("again") else "peer"
        check(found["near"] + found["own"] + found[near] == SAMPLE, f"{name} came from {dict(found)}")
    check(loads == SAMPLE, f"{loads} items were loaded from the database")


def read_at_once(cluster: Cluster) -> None:
    """A hundred readers want one cold item at the same moment: one load."""
    id_ = _ids([ITEMS - 1])[0]
    before = {node.name: counters(cluster, node) for node in cluster.nodes}
    answers = _at_once([(cluster[n % 3], item_path(id_)) for n in range(READERS)])
    _check_answers(answers, [id_] * READERS)
    after = {node.name: counters(cluster, node) for node in cluster.nodes}
    loads = sum(after[name]["local_loads"] - before[name]["local_loads"] for name in after)
    came: Counter[str] = Counter()
    for name in after:
        came += sources(after[name]) - sources(before[name])
    # The other keys of these GETs came from memory, after `warm_up`.
    away = {column: came[column] for column in ("peer", "deduplicated", "database", "bypass")}
    say(
        f"{READERS} clients GET the cold {id_} from three nodes at once. Requests that caused a load:"
        f" {away['database']}. Requests that waited for it: {away['deduplicated']}. Answered from the owner's memory:"
        f" {away['peer']}. Answered from the memory of the node itself: {READERS - sum(away.values())}."
    )
    say(f"Loads of {id_} from the database, at all nodes together: {loads}.")
    check(loads == 1, f"{READERS} readers at once caused {loads} loads")


def write_and_read(cluster: Cluster) -> None:
    """A write at one node is seen at once at the others."""
    ids = _ids(range(3))
    old = 0
    for number in range(WRITES):
        id_, written = ids[number % 3], f"Version {number}"
        writer, others = cluster[number % 3], [cluster[(number + 1) % 3], cluster[(number + 2) % 3]]
        answer = writer.http.patch(f"{CONTAINER}/{id_}", {"title": written})
        check(answer.status == 204, f"PATCH at {writer.name} answered {answer.status}")
        old += sum(node.http.get(item_path(id_)).json()["title"] != written for node in others)
    say(f"{WRITES} times a node changed an item, and both others read it as soon as the write was acknowledged.")
    say(f"Old titles among the {2 * WRITES} answers: {old}.")
    check(old == 0, f"{old} of {2 * WRITES} reads after a write gave the old title")


def list_folder(cluster: Cluster) -> None:
    """A listing sends each peer one request, not one per child."""
    first, second = cluster[0], cluster[1]
    path = f"{CONTAINER}/shelf"
    check(first.http.post(CONTAINER, {"@type": "Folder", "id": "shelf"}).status == 201, "no folder was made")
    for number in range(LISTED):
        check(first.http.post(path, {"@type": "Item", "id": f"book-{number}"}).status == 201, "no item was made")
    before = counters(cluster, second)
    answer = second.http.get(path)
    after = counters(cluster, second)
    check(len(answer.json()["items"]) == LISTED, f"the folder lists {len(answer.json()['items'])} items")
    frames = after["network"]["frames_out"] - before["network"]["frames_out"]
    found = sources(after) - sources(before)
    say(
        f"node2 lists a folder of {LISTED} items, which it has never read. That takes {found.total()} keys: the"
        " container, its registry, the folder, its annotation, the list of its ids, their number, and the items."
    )
    _show_sources([("GET of the folder at node2", found)])
    say(f"Messages that node2 sent for it, among them the answer to the demo's request for statistics: {frames}.")
    check(found.total() == LISTED + 6, f"{found.total()} keys were read")
    check(frames <= MESSAGES, f"{frames} messages were sent for a listing")


def kill_node(cluster: Cluster) -> None:
    """A node is killed: the others go on, and it may come back."""
    first, second, third = cluster.nodes
    third.kill()
    id_ = _ids([7])[0]
    answer = first.http.patch(f"{CONTAINER}/{id_}", {"title": "Without node3"})
    check(answer.status == 204, f"PATCH without node3 answered {answer.status}")
    ids = _ids(range(SAMPLE, 2 * SAMPLE))
    for node in (first, second):
        check(node.http.get(item_path(id_)).json()["title"] == "Without node3", f"{node.name} gives the old title")
        _check_answers([node.http.get(item_path(other)) for other in ids], ids)
    marked = f"member {third.address} is marked out"
    line = wait_for(lambda: _log_line(first, marked) or _log_line(second, marked), "node3 to be marked out", 20.0)
    say("kill -9 for node3. A write at node1 and reads at both others went on without an error. The log says:")
    say(f"`{line}`")
    third.start()
    third.wait_ready()
    cluster.wait_whole()
    check(third.http.get(item_path(id_)).json()["title"] == "Without node3", "node3 came back with the old title")
    say(
        "node3 was started again. Before it serves it copies the versions of all objects from a member, so it knows"
        " what was written while it was gone."
    )


def show_stats(cluster: Cluster) -> None:
    """The statistics of every node."""
    say("From GET @cache-stats?cluster=true; node3 counts from its second start.")
    stats = {node.name: counters(cluster, node) for node in cluster.nodes}
    rows: list[tuple[str, Callable[[dict[str, Any]], int]]] = [
        ("keys asked for", lambda s: s["gets"]),
        *((f"  {text}", partial(_came_from, column)) for column, text in COLUMNS.items()),
        ("keys loaded from the database", lambda s: s["local_loads"]),
        ("keys served to peers", lambda s: s["served_to_peers"]),
        ("values given to their owners", lambda s: s["pushed"]),
        ("events announced", lambda s: s["events"]["announced"]),
        ("others' events acknowledged", lambda s: s["events"]["acknowledged"]),
        ("events settled", lambda s: s["events"]["settled"]),
        ("buckets in doubt now", lambda s: s["buckets_in_doubt"]),
        ("values kept, owned", lambda s: s["main"]["items"]),
        ("values kept, hot copies", lambda s: s["hot"]["items"]),
        ("near entries", lambda s: s["near"]["items"]),
        ("KB kept", lambda s: sum(s[store]["bytes"] for store in ("main", "hot", "near")) // 1000),
    ]
    table("", list(stats), [(name, {node: get(s) for node, s in stats.items()}) for name, get in rows])
    check(all(s["serving"] for s in stats.values()), "not all nodes serve")


STEPS: Final[list[Callable[[Cluster], None]]] = [
    write_items,
    read_pushed,
    clear,
    read_cold,
    read_at_once,
    write_and_read,
    list_folder,
    kill_node,
    show_stats,
]


def _came_from(column: str, stats: dict[str, Any]) -> int:
    return sources(stats)[column]


def _ids(numbers: Iterable[int]) -> list[str]:
    return [f"item-{number:03}" for number in numbers]


def _write(node: Node, id_: str, text: str) -> None:
    answer = node.http.post(CONTAINER, {"@type": "Item", "id": id_, "title": text})
    check(answer.status in (201, 409), f"POST of {id_} answered {answer.status}: {answer.body!r}")


def _check_answers(answers: list[Any], ids: list[str]) -> None:
    for answer, id_ in zip(answers, ids, strict=True):
        check(answer.status == 200 and answer.json()["@name"] == id_, f"GET of {id_} answered {answer.status}")


def _show_sources(rows: list[tuple[str, Counter[str]]]) -> None:
    named = [(name, {COLUMNS[key]: count for key, count in found.items()}) for name, found in rows]
    shown = [text for key, text in COLUMNS.items() if key not in RARE or any(found[key] for _, found in rows)]
    table("", shown, named)


def _at_once(requests: list[tuple[Node, str]]) -> list[Any]:
    """Send requests from threads of their own, which begin together; the answers in order."""
    together = threading.Barrier(len(requests))
    answers: list[Any] = [None] * len(requests)

    def send(index: int, node: Node, path: str) -> None:
        together.wait()
        answers[index] = node.http.get(path)

    threads = [threading.Thread(target=send, args=(i, *request)) for i, request in enumerate(requests)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _log_line(node: Node, text: str) -> str:
    """The last line of a node's log that holds `text`, without its time; empty where there is none."""
    lines = [line for line in node.log().splitlines() if text in line]
    return lines[-1][lines[-1].index("groupcache: ") :] if lines else ""
