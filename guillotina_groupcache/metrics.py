"""Prometheus metrics, where `prometheus_client` is installed, and Guillotina's own counters kept true."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from guillotina.db import transaction

if TYPE_CHECKING:
    from guillotina_groupcache.utility import GroupcacheUtility

try:
    from prometheus_client import REGISTRY
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
except ImportError:
    REGISTRY = None  # type: ignore[assignment]

#: Whether the value that a strategy has just returned was loaded from the database for this very call.
#: Guillotina takes whatever a cache returns for a hit; `_record` calls such a value what it is.
loaded: ContextVar[bool] = ContextVar("guillotina_groupcache.loaded", default=False)

_PREFIX: Final = "guillotina_groupcache_"
_COUNTERS: Final = {
    "gets": "Keys asked for.",
    "local_loads": "Keys loaded from the database by this process.",
    "load_errors": "Keys whose load failed.",
    "deduplicated_loads": "Requests that waited for a load under way.",
    "peer_loads": "Values got from peers.",
    "peer_errors": "Keys that a peer was asked for in vain.",
    "served_to_peers": "Keys that peers asked this process for.",
    "bypasses": "Keys read from the database: not in standing, or in doubt.",
    "pushed": "Values given to their owners when they were written.",
}
_EVENTS: Final = ("announced", "passed", "acknowledged", "settled", "orphans")


class _Collector:
    """Reads the statistics when Prometheus asks, so that nothing is counted twice.

    A process has one utility; where tests have a second one for a while, the last one counts.
    """

    __slots__ = ("utilities",)

    def __init__(self) -> None:
        self.utilities: list[GroupcacheUtility] = []

    def collect(self) -> Iterator[Any]:
        stats = self.utilities[-1].local_stats() if self.utilities else {}
        if not stats:
            return
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"{_PREFIX}{name}", text, value=stats[name])
        yield _labelled(CounterMetricFamily, "hits", "Values by where they came from.", "source", stats["hits"])
        events = {kind: stats["events"][kind] for kind in _EVENTS}
        yield _labelled(CounterMetricFamily, "events", "Events by what became of them.", "result", events)
        for name, text in (("bytes", "Bytes kept."), ("items", "Values kept.")):
            kept = {store: stats[store][name] for store in ("main", "hot")}
            yield _labelled(GaugeMetricFamily, name, text, "store", kept)
        evicted = {store: stats[store]["evictions"] for store in ("main", "hot")}
        yield _labelled(CounterMetricFamily, "evictions", "Values dropped to make room.", "store", evicted)
        yield GaugeMetricFamily(f"{_PREFIX}in_standing", "1 when it may serve.", value=int(stats["in_standing"]))
        yield GaugeMetricFamily(f"{_PREFIX}buckets_in_doubt", "Now.", value=stats["buckets_in_doubt"])


def _labelled(family: Any, name: str, text: str, label: str, values: dict[str, int]) -> Any:
    metric = family(f"{_PREFIX}{name}", text, labels=[label])
    for value, count in values.items():
        metric.add_metric([value], count)
    return metric


_collector = _Collector()
_guillotinas_record = transaction.record_cache_metric


def _record(name: str, result_type: str, value: Any, key_args: dict[str, Any]) -> None:
    if loaded.get():
        loaded.set(False)
        result_type = "miss"
    _guillotinas_record(name, result_type, value, key_args)


def register(utility: GroupcacheUtility) -> None:
    """Count for a utility that has begun."""
    if not _collector.utilities:
        transaction.record_cache_metric = _record
        if REGISTRY is not None:
            REGISTRY.register(_collector)
    _collector.utilities.append(utility)


def unregister(utility: GroupcacheUtility) -> None:
    """Forget a utility that is about to end."""
    if utility not in _collector.utilities:
        return
    _collector.utilities.remove(utility)
    if not _collector.utilities:
        transaction.record_cache_metric = _guillotinas_record
        if REGISTRY is not None:
            REGISTRY.unregister(_collector)
