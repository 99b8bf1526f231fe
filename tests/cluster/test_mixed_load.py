"""Three nodes under mixed load: no read gives less than was acknowledged, or seen by a reader, before it began.

Every object has one writer, which writes growing numbers, through one node after the other. So a value identifies its
write, and the check is plain: a read that begins after the response to write n, or after any read of n, must give n or
more. A request's begin is recorded before it is sent and its end after the response was read, so that no violation is
false. Now and then a node is stopped for a moment: it must not answer, when it wakes up, with an old value.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from harness.cluster import Cluster
from harness.node import Node
from tests.cluster.steps import at_once, forget_storage_calls, new, storage_calls, title, uid

SECONDS = 15.0
OBJECTS = 8
WRITERS = 3
READERS = 6
#: Seconds for which a node is stopped, less than what a commit waits before it marks the node out, and between.
PAUSE, BETWEEN_PAUSES = 0.04, 0.2
#: Of how many writes one is aborted, and one deletes the object and creates it again.
ABORTED, REMADE = 7, 11


@dataclass
class Seen:
    """The highest number of an object that is known to be committed."""

    number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def raise_to(self, number: int) -> None:
        with self.lock:
            self.number = max(self.number, number)


class Load:
    """Writers and readers of some objects, until a moment or until the first violation."""

    def __init__(self, cluster: Cluster, folder: str) -> None:
        self.nodes = cluster.nodes
        self.folder = folder
        self.seen = [Seen() for _ in range(OBJECTS)]
        self.violations: list[str] = []
        self.reads = self.writes = 0
        self._end = time.monotonic() + SECONDS

    def goes_on(self) -> bool:
        return time.monotonic() < self._end and not self.violations

    def write(self, mine: list[int], seed: int) -> None:
        """Write growing numbers to the objects `mine`."""
        choice, number = random.Random(seed), 0
        while self.goes_on():
            number += 1
            for i in mine:
                node, path = choice.choice(self.nodes), f"{self.folder}/{i}"
                if number % ABORTED == 0:
                    assert node.http.post(f"{path}/@abort").status == 400
                if number % REMADE == 0:
                    assert node.http.delete(path).status == 200
                    status = node.http.post(self.folder, {"@type": "Item", "id": str(i), "title": str(number)}).status
                else:
                    status = node.http.patch(path, {"title": str(number)}).status
                assert status in (201, 204), (path, status)
                self.seen[i].raise_to(number)
                self.writes += 1

    def read(self, seed: int) -> None:
        """Read objects one by one and in listings, at any node."""
        choice = random.Random(seed)
        while self.goes_on():
            node = choice.choice(self.nodes)
            if choice.random() < 0.2:
                self._check(node, range(OBJECTS), partial(self._listing, node))
            else:
                i = choice.randrange(OBJECTS)
                self._check(node, [i], partial(self._one, node, i))

    def disturb(self, seed: int) -> None:
        """Stop one node or another for a moment, again and again."""
        choice = random.Random(seed)
        while self.goes_on():
            node = choice.choice(self.nodes)
            node.pause()
            try:
                time.sleep(PAUSE)
            finally:
                node.resume()
            time.sleep(BETWEEN_PAUSES)

    def _listing(self, node: Node) -> dict[int, int]:
        titles = node.http.get(f"{self.folder}/@titles").json()
        return {int(id_): int(found) for id_, found in titles.items()}

    def _one(self, node: Node, i: int) -> dict[int, int]:
        answer = node.http.get(f"{self.folder}/{i}")
        # It is missing for a moment when it is created again.
        assert answer.status in (200, 404), answer
        return {i: int(answer.json()["title"])} if answer.status == 200 else {}

    def _check(self, node: Node, wanted: range | list[int], read: Callable[[], dict[int, int]]) -> None:
        floor = {i: self.seen[i].number for i in wanted}
        found = read()
        for i, number in found.items():
            self.seen[i].raise_to(number)
            if number < floor[i]:
                self.violations.append(
                    f"{node.name} gave {number} for object {i}, when {floor[i]} had been seen before the read"
                )
        self.reads += 1


def test_no_read_goes_back_in_time(cluster: Cluster) -> None:
    folder = new(cluster[0], "load", type_="Folder")
    for i in range(OBJECTS):
        new(cluster[0], str(i), "0", parent=folder)
    forget_storage_calls(cluster)
    load = Load(cluster, folder)
    calls = [partial(load.write, list(range(OBJECTS))[i::WRITERS], i) for i in range(WRITERS)]
    calls += [partial(load.read, WRITERS + i) for i in range(READERS)]
    calls.append(partial(load.disturb, WRITERS + READERS))
    at_once(calls)

    assert load.violations == []
    cluster.wait_whole()
    assert load.writes > OBJECTS
    assert load.reads > OBJECTS
    for i in range(OBJECTS):
        for node in cluster.nodes:
            assert int(title(node, f"{folder}/{i}")) == load.seen[i].number
    # And the cache has answered: objects were read far less often from the database than from the nodes.
    oid = uid(cluster[0], folder)
    loads = [call for call in storage_calls(cluster) if call[0].startswith("get_child") and call[1] == oid]
    hits = sum(sum(node.http.stats()["hits"][source] for source in ("own", "hot", "peer")) for node in cluster.nodes)
    assert hits > len(loads), (hits, len(loads), load.reads, load.writes)
