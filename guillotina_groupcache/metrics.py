"""Prometheus metrics, where `prometheus_client` is installed, and a correction of Guillotina's own counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final

from guillotina.db import transaction

try:
    from prometheus_client import REGISTRY
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
except ImportError:
    REGISTRY = None  # type: ignore[assignment]

#: Whether the value that a strategy has just returned was loaded from the database for this very call.
#: Guillotina counts whatever a cache returns as a hit; `_record` counts such a value as a miss.
loaded: ContextVar[bool] = ContextVar("guillotina_groupcache.loaded", default=False)

Stats = Callable[[], dict[str, Any]]

#: As Guillotina names the metrics of its own caches.
_PREFIX: Final = "guillotina_cache_groupcache_"
COUNTERS: Final = {
    "gets": "Keys read.",
    "local_loads": "Keys loaded from the database by this process.",
    "load_errors": "Keys whose load failed.",
    "deduplicated_loads": "Requests that waited for a load under way.",
    "peer_loads": "Values got from peers.",
    "peer_errors": "Keys that a peer failed to answer.",
    "served_to_peers": "Keys that peers requested from this process.",
    "bypasses": "Keys read past the cache: the process was bypassing, or the key was in doubt.",
    "pushed": "Values sent to their owners when they were written.",
}
GAUGES: Final = {
    "serving": "1 while reads are answered from the cache.",
    "since_seconds": "For how long it has been serving, or bypassing.",
    "buckets_in_doubt": "Buckets whose keys are read past the cache now.",
    "longest_doubt_seconds": "For how long the oldest open event has been open.",
}
_STATES: Final = ("joining", "boot", "in", "out")
_EVENTS: Final = ("announced", "cleared", "acknowledged", "settled", "orphans")


class _Collector:
    """Reads the statistics when Prometheus collects, so that nothing is counted twice.

    A process has one utility; where tests have a second one for a while, the last one is shown.
    """

    __slots__ = ("readers",)

    def __init__(self) -> None:
        self.readers: list[Stats] = []

    def collect(self) -> Iterator[Any]:
        stats = self.readers[-1]() if self.readers else {}
        if not stats:
            return
        for name, text in COUNTERS.items():
            yield CounterMetricFamily(f"{_PREFIX}{name}", text, value=stats[name])
        yield _labelled(CounterMetricFamily, "hits", "Values by source.", "source", stats["hits"])
        events = {kind: stats["events"][kind] for kind in _EVENTS}
        yield _labelled(CounterMetricFamily, "events", "Events by result.", "result", events)
        outside = stats["outside_writes"]
        notes = {"everything": outside["everything"], "named": outside["applied"] - outside["everything"]}
        text = "Notes of writes that nobody announced, by what they made the process bump."
        yield _labelled(CounterMetricFamily, "outside_writes", text, "kind", notes)
        for name, text in (("bytes", "Bytes kept."), ("items", "Values kept.")):
            kept = {store: stats[store][name] for store in ("main", "hot", "near")}
            yield _labelled(GaugeMetricFamily, name, text, "store", kept)
        evicted = {store: stats[store]["evictions"] for store in ("main", "hot")}
        yield _labelled(CounterMetricFamily, "evictions", "Values dropped to make room.", "store", evicted)
        for name, text in GAUGES.items():
            yield GaugeMetricFamily(f"{_PREFIX}{name}", text, value=float(stats[name.removesuffix("_seconds")]))
        reason, text = {stats["reason"]: 1} if stats["reason"] else {}, "1 while reads go to the database."
        yield _labelled(GaugeMetricFamily, "bypassing", text, "reason", reason)
        unreachable, text = dict.fromkeys(stats["unreachable_databases"], 1), "1 while it does not answer."
        yield _labelled(GaugeMetricFamily, "database_unreachable", text, "database", unreachable)
        members = Counter(row["state"] for row in stats["members"])
        states = {state: members[state] for state in _STATES}
        yield _labelled(GaugeMetricFamily, "members", "Other processes in the members table.", "state", states)


def _labelled(family: Any, name: str, text: str, label: str, values: Mapping[str, int]) -> Any:
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


def register(stats: Stats) -> None:
    """Show the metrics of a utility that has begun; `stats` gives its statistics, empty when it has ended."""
    if not _collector.readers and REGISTRY is not None:
        transaction.record_cache_metric = _record
        REGISTRY.register(_collector)
    _collector.readers.append(stats)


def unregister(stats: Stats) -> None:
    """Stop showing the metrics of a utility that is about to end."""
    if stats not in _collector.readers:
        return
    _collector.readers.remove(stats)
    if not _collector.readers and REGISTRY is not None:
        transaction.record_cache_metric = _guillotinas_record
        REGISTRY.unregister(_collector)
