"""Sites of real Guillotina processes: with this cache, with guillotina.contrib.cache, with none."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.lib.redis_server import RedisServer
from harness.client import NodeError
from harness.local import ROOT, free_port, wait_for
from harness.node import Node

SECRET: Final = "the secret of the benchmarks, which everybody may know"
#: Connections of a node to the database, as in the demo's nodes.
POOL_SIZE: Final = 8
_WITHOUT_METRICS: Final = ROOT / "benchmarks" / "lib" / "without_metrics"
_CHANNEL: Final = "guillotina"
_AGENT: Final = "benchmarks.lib.agent"
# As guillotina.contrib.pubsub has it; a section of the settings replaces it whole.
_PUBSUB: Final = {
    "provides": "guillotina.interfaces.IPubSubUtility",
    "factory": "guillotina.contrib.pubsub.utility.PubSubUtility",
}


class Site:
    """Some nodes over one database, which has the container: a context manager, at whose end all have ended.

    `sections` are the nodes' `groupcache` sections, None for none. With `metrics` Guillotina counts for Prometheus.
    Of the nodes the first `started` are started at once, or all.
    """

    def __init__(
        self,
        dsn: str,
        sections: list[dict[str, Any] | None],
        overrides: Mapping[str, Any],
        metrics: bool = False,
        folder: Path | None = None,
        redis: RedisServer | None = None,
        started: int | None = None,
    ) -> None:
        self.redis = redis
        self._started = started
        self.folder = folder or _new_folder()
        self._path = ":".join(map(str, [ROOT] if metrics else [_WITHOUT_METRICS, ROOT]))
        self.dsn = dsn
        self._overrides = overrides
        self.nodes: list[Node] = []
        for section in sections:
            self.add(section)

    def add(self, section: dict[str, Any] | None) -> Node:
        """One more node, not started."""
        name = f"node{len(self.nodes) + 1}"
        environ = {"PYTHONPATH": self._path}
        self.nodes.append(Node(name, self.dsn, self.folder, section, self._overrides, environ))
        return self.nodes[-1]

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]

    def __enter__(self) -> Site:
        try:
            # The first one alone: Guillotina makes its tables, and two that do so at once fail.
            self.start(self.nodes[:1])
            self.start(self.nodes[1 : self._started])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self, nodes: list[Node]) -> None:
        """Start nodes and wait until all that run are one site."""
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_ready(serving=False)
        running = [node for node in self.nodes if node.is_running()]
        if "guillotina_groupcache" in self._overrides["applications"]:
            for node in running:
                self._wait_whole(node, len(running) - 1)
        redis = self.redis
        if redis is not None:
            # contrib begins to listen up to half a second after it serves.
            wait_for(lambda: redis.subscribers(_CHANNEL) == len(running), "contrib's nodes to listen to each other")

    def _wait_whole(self, node: Node, others: int) -> None:
        """Wait until a node of this cache serves from it and is connected with every other one."""

        def whole() -> bool:
            stats = node.http.stats()
            connected = [row for row in stats["members"] if row["state"] == "in" and row["connected"]]
            return bool(stats["serving"]) and len(connected) >= others

        wait_for(whole, f"{node.name} to know {others} others")

    def close(self) -> None:
        """End every process, and remove what was written."""
        for node in self.nodes:
            if node.process is not None and node.is_running():
                node.resume()
                node.process.terminate()
        try:
            for node in self.nodes:
                if node.is_running():
                    node.stop()
        finally:
            for node in self.nodes:
                node.kill()
            shutil.rmtree(self.folder, ignore_errors=True)


def _new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="groupcache-benchmark-"))


def groupcache(
    dsn: str,
    count: int,
    unix: bool = False,
    clients: int = 0,
    metrics: bool = False,
    started: int | None = None,
    pool_size: int = POOL_SIZE,
    **section: Any,
) -> Site:
    """`count` nodes with this cache, as it is configured by default: TCP and TLS by a secret, or unix sockets without.

    The last `clients` of the nodes own nothing. `section` is added to every node's section.
    """
    folder = _new_folder()
    owners = count - clients
    if unix:
        listens = [f"unix:{folder}/peer{number}" for number in range(owners)]
    else:
        listens = [f"127.0.0.1:{free_port()}" for _ in range(owners)]
        section = {"secret": SECRET, **section}
    sections: list[dict[str, Any] | None] = [{"listen": listen, "peers": listens, **section} for listen in listens]
    sections += [{"peers": listens, **section}] * clients
    overrides = {
        "applications": ["guillotina", "guillotina_groupcache", _AGENT],
        "databases": {"db": {"storage": "postgresql", "dsn": dsn, "name": "db", "pool_size": pool_size}},
    }
    return Site(dsn, sections, overrides, metrics, folder, started=started)


def contrib(
    dsn: str, count: int, redis: RedisServer | None = None, unix: bool = False, metrics: bool = False, **cache: Any
) -> Site:
    """guillotina.contrib.cache, in memory or with Redis and its publish and subscribe, which it tells writes by.

    `cache` is added to that section of the settings.
    """
    applications = ["guillotina", "guillotina.contrib.cache", _AGENT]
    overrides: dict[str, Any] = {"applications": applications, "cache": {"strategy": "basic", **cache}}
    if redis is not None:
        driver = "benchmarks.lib.redis_socket" if unix else "guillotina.contrib.redis"
        applications[1:1] = ["guillotina.contrib.redis", "guillotina.contrib.pubsub"]
        overrides["cache"] |= {"driver": driver, "updates_channel": _CHANNEL}
        overrides["redis"] = {"host": "127.0.0.1", "port": redis.port, "socket": str(redis.socket)}
        overrides["load_utilities"] = {"guillotina_pubsub": {**_PUBSUB, "settings": {"driver": driver}}}
    return Site(dsn, [None] * count, overrides, metrics, redis=redis)


def uncached(dsn: str, count: int) -> Site:
    """No cache at all."""
    overrides = {"applications": ["guillotina", _AGENT], "cache": {"strategy": "dummy"}}
    return Site(dsn, [None] * count, overrides)


def run(node: Node, function: Callable[..., Awaitable[Any]], **arguments: Any) -> Any:
    """Await a coroutine function of a module inside of a node; arguments and answer go as JSON."""
    module = function.__module__
    if module == "__main__":
        module = sys.modules["__main__"].__spec__.name  # type: ignore[union-attr]
    answer = node.http.post("/@run", {"function": f"{module}.{function.__name__}", "arguments": arguments})
    if answer.status != 200:
        raise NodeError(f"{function.__name__} failed at {node.name}: {answer.body!r}\n{node.log()[-3000:]}")
    return answer.json()
