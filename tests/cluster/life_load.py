"""A load of readers and writers while something happens to a node; no read may be stale."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness.local import wait_for
from harness.node import Node
from tests.cluster.steps import new

ITEMS = 4
WRITERS = 2
READERS = 3


class Load:
    """Threads that write ever higher numbers as titles and read them, at nodes that must never fail."""

    def __init__(self, nodes: Sequence[Node], folder: str) -> None:
        self.paths = [new(nodes[0], str(i), "0", parent=folder) for i in range(ITEMS)]
        self.errors: list[str] = []
        self.writes = 0
        self.reads = 0
        self._nodes = nodes
        self._acknowledged = [0] * ITEMS
        self._seen = [0] * ITEMS
        self._lock = threading.Lock()
        self._end = threading.Event()
        work = [(self._write, i) for i in range(WRITERS)] + [(self._read, i) for i in range(READERS)]
        self._threads = [threading.Thread(target=run, args=(i,)) for run, i in work]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all threads."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def wait_on(self, count: int = 20) -> None:
        """Wait until as many more reads and writes have been answered."""
        writes, reads = self.writes + count, self.reads + count
        wait_for(lambda: self.errors or (self.writes >= writes and self.reads >= reads), "the load to go on")
        assert not self.errors

    def check(self, node: Node, item: int) -> None:
        """Check that a read gives no older value than was acknowledged, or seen by any reader, before it began.

        Raises `OSError`.
        """
        with self._lock:
            least = max(self._acknowledged[item], self._seen[item])
        answer = node.http.get(self.paths[item])
        if answer.status != 200:
            self.errors.append(f"{node.name}: GET {answer.status} {answer.body!r}")
            return
        found = int(answer.json()["title"])
        if found < least:
            self.errors.append(f"{node.name}: read {found} of item {item} after {least}")
        with self._lock:
            self._seen[item] = max(self._seen[item], found)

    def _write(self, writer: int) -> None:
        number = 0
        while not self._end.is_set():
            number += 1
            # Each item has one writer, which goes from node to node.
            item = (writer + WRITERS * number) % ITEMS
            node = self._nodes[number % len(self._nodes)]
            try:
                answer = node.http.patch(self.paths[item], {"title": str(number)})
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(f"{node.name}: PATCH {error!r}")
                continue
            if answer.status != 204:
                self.errors.append(f"{node.name}: PATCH {answer.status} {answer.body!r}")
                continue
            with self._lock:
                self._acknowledged[item] = number
                self.writes += 1

    def _read(self, reader: int) -> None:
        number = reader
        while not self._end.is_set():
            number += 1
            node = self._nodes[number % len(self._nodes)]
            try:
                self.check(node, number // 2 % ITEMS)
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(f"{node.name}: GET {error!r}")
            self.reads += 1


@contextmanager
def under_load(nodes: Sequence[Node], folder: str) -> Iterator[Load]:
    """Put a load on some nodes while the block runs. None of its requests may fail or read a stale value."""
    load = Load(nodes, folder)
    load.start()
    try:
        load.wait_on()
        yield load
    finally:
        load.stop()
    assert load.errors == []
