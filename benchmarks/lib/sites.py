"""Sites of real Guillotina processes: with this cache, with guillotina.contrib.cache, with none."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.lib.redis_server import RedisServer
from harness.client import NodeError
from harness.cluster import SECRET, Cluster
from harness.local import ROOT, TIMEOUT, free_port, wait_for
from harness.node import POOL_SIZE, Node, database_settings

_WITHOUT_METRICS: Final = ROOT / "benchmarks" / "lib" / "without_metrics"
_CHANNEL: Final = "guillotina"
_AGENT: Final = "benchmarks.lib.agent"
# As guillotina.contrib.pubsub has it; a section of the settings replaces it whole.
_PUBSUB: Final = {
    "provides": "guillotina.interfaces.IPubSubUtility",
    "factory": "guillotina.contrib.pubsub.utility.PubSubUtility",
}


class Site(Cluster):
    """A cluster with the benchmarks' agent in every node. With `metrics` Guillotina counts for Prometheus."""

    def __init__(
        self,
        dsn: str,
        sections: Sequence[Mapping[str, Any] | None],
        overrides: Mapping[str, Any],
        metrics: bool = False,
        redis: RedisServer | None = None,
        **options: Any,
    ) -> None:
        path = ":".join(map(str, [ROOT] if metrics else [_WITHOUT_METRICS, ROOT]))
        super().__init__(dsn, sections=sections, overrides=overrides, environ={"PYTHONPATH": path}, **options)
        self.redis = redis

    def wait_whole(self, timeout: float = TIMEOUT) -> None:
        super().wait_whole(timeout)
        if (redis := self.redis) is not None:
            running = sum(node.is_running() for node in self.nodes)
            # contrib begins to listen up to half a second after it serves.
            wait_for(lambda: redis.subscribers(_CHANNEL) == running, "contrib's nodes to listen to each other", timeout)


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
    """Return `count` nodes with this cache in its default configuration: TCP and TLS with a secret, or unix sockets.

    The last `clients` of the nodes own nothing. `section` is added to every node's section.
    """
    folder = Path(tempfile.mkdtemp(prefix="groupcache-benchmark-"))
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
        "databases": {"db": database_settings(dsn, pool_size=pool_size)},
    }
    return Site(dsn, sections, overrides, metrics, folder=folder, started=started)


def contrib(
    dsn: str, count: int, redis: RedisServer | None = None, unix: bool = False, metrics: bool = False, **cache: Any
) -> Site:
    """Return nodes with guillotina.contrib.cache, in memory, or with Redis, over which writes are published.

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
    """Return nodes without any cache."""
    overrides = {"applications": ["guillotina", _AGENT], "cache": {"strategy": "dummy"}}
    return Site(dsn, [None] * count, overrides)


def run(node: Node, function: Callable[..., Awaitable[Any]], **arguments: Any) -> Any:
    """Await a coroutine function inside of a node, and return its result; arguments and result travel as JSON."""
    module = function.__module__
    if module == "__main__":
        module = sys.modules["__main__"].__spec__.name  # type: ignore[union-attr]
    answer = node.http.post("/@run", {"function": f"{module}.{function.__name__}", "arguments": arguments})
    if answer.status != 200:
        raise NodeError(f"{function.__name__} failed at {node.name}: {answer.body!r}\n{node.log()[-3000:]}")
    return answer.json()
