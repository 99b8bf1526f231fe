"""Guillotina nodes over one database: what the demo, the tests and the benchmarks run.

`Cluster(dsn, 3)` is a context manager with three `nodes`; `node.http.get(f"{CONTAINER}/an-item")` sends a
request to one of them.
"""

from __future__ import annotations

import http.client
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from harness.client import CONTAINER, NodeError
from harness.local import TIMEOUT, free_port, wait_for
from harness.node import APPLICATIONS, Node

#: The secret of clusters that are given no other one.
SECRET: Final = "a secret of demo, tests and benchmarks, known to all"

_START_TRIES: Final = 5

C = TypeVar("C", bound="Cluster")


class Cluster:
    """Nodes over one database: a context manager, at whose end every process that it started has ended.

    `groupcache` (on top of `listen` and `secret`), `overrides` and `environ` go to every node. `sections` are whole
    `groupcache` sections instead of these, one per node, None for none. All files go into `folder`, by default a
    temporary one, which is deleted at the end. Of the nodes the first `started` are started at once, by default all.
    """

    def __init__(
        self,
        dsn: str,
        size: int = 3,
        secret: str = SECRET,
        groupcache: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        sections: Sequence[Mapping[str, Any] | None] | None = None,
        folder: Path | None = None,
        started: int | None = None,
    ) -> None:
        self.nodes: list[Node] = []
        self.folder = folder or Path(tempfile.mkdtemp(prefix="groupcache-cluster-"))
        self.dsn = dsn
        self._size = size
        self._sections = sections
        self._groupcache = {"secret": secret, **(groupcache or {})}
        self._overrides = overrides or {}
        self._environ = environ
        self._count_started = started
        self._made = 0

    def __enter__(self: C) -> C:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]

    def _start(self) -> None:
        for attempt in range(1, _START_TRIES + 1):
            self._make_nodes()
            try:
                # The first one alone: Guillotina creates its tables, and two that do so at once fail.
                for batch in self.nodes[:1], self.nodes[1 : self._count_started]:
                    self._start_ready(batch)
                break
            except NodeError as error:
                # Another program may have taken a port meanwhile.
                if attempt == _START_TRIES or "in use" not in str(error):
                    raise
                self._kill_all()
        made = self[0].http.post("/db", {"@type": "Container", "id": CONTAINER.rpartition("/")[2]})
        if made.status not in (200, 409):
            raise NodeError(f"the container could not be made: {made.status} {made.body!r}")
        self.wait_whole()

    def _make_nodes(self) -> None:
        if self._sections is None:
            self.nodes = [self._node(self._section()) for _ in range(self._size)]
        else:
            self.nodes = [self._node(section) for section in self._sections]

    def _section(self) -> Mapping[str, Any]:
        return {"listen": f"127.0.0.1:{free_port()}", **self._groupcache}

    def _node(self, section: Mapping[str, Any] | None) -> Node:
        self._made += 1
        return Node(f"node{self._made}", self.dsn, self.folder, section, self._overrides, self._environ)

    def add_node(self) -> Node:
        """Return one more node of the cluster, not started yet."""
        self.nodes.append(self._node(self._section()))
        return self.nodes[-1]

    def start(self, *nodes: Node) -> None:
        """Start nodes, and wait until all that run serve and are connected with each other."""
        self._start_ready(nodes)
        self.wait_whole()

    def _start_ready(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_ready(serving=self._has_cache)

    @property
    def _has_cache(self) -> bool:
        return "guillotina_groupcache" in self._overrides.get("applications", APPLICATIONS)

    def wait_whole(self, timeout: float = TIMEOUT) -> None:
        """Wait until every running node serves from the cache and is connected with every other one."""
        if self._has_cache:
            wait_for_stats([node for node in self.nodes if node.is_running()], missing_member, timeout)

    def close(self) -> None:
        """End every process, and remove what was written; a second call does nothing."""
        for node in self.nodes:
            if node.is_running():
                node.resume()
                assert node.process is not None
                node.process.terminate()
        try:
            for node in self.nodes:
                if node.is_running():
                    node.stop()
        finally:
            self._kill_all()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _kill_all(self) -> None:
        for node in self.nodes:
            node.kill()


#: The statistics of nodes, by their names.
Stats = dict[str, dict[str, Any]]


def wait_for_stats(nodes: Sequence[Node], missing: Callable[[Stats], str], timeout: float = TIMEOUT) -> None:
    """Wait until `missing` finds nothing missing in the statistics of nodes.

    Raises `TimeoutError`, which says what is missing, after `timeout` seconds.
    """
    last = ""

    def nothing_missing() -> bool:
        nonlocal last
        for node in nodes:
            if not node.is_running():
                raise NodeError(f"{node.name} ended:\n{node.log()}")
        try:
            last = missing({node.name: node.http.stats() for node in nodes})
        except (OSError, http.client.HTTPException, NodeError) as error:
            last = str(error)
        return not last

    try:
        wait_for(nothing_missing, "the whole cluster", timeout)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {last}") from None


def missing_member(stats: Stats) -> str:
    """Say which node bypasses, or is not connected with another one; empty: none."""
    names = {row["incarnation"]: name for name, row in stats.items()}
    for name, row in stats.items():
        if not row["serving"]:
            return f"{name} bypasses: {row['reason']}"
        connected = {m["incarnation"] for m in row["members"] if m["state"] == "in" and m["connected"]}
        if unknown := names.keys() - connected - {row["incarnation"]}:
            return f"{name} is not connected with {sorted(names[id_] for id_ in unknown)}"
    return ""
