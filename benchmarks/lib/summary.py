"""One picture of the results: ours beside what a user has today."""

from __future__ import annotations

from typing import Final

from benchmarks.lib import pictures
from benchmarks.lib.report import RESULTS, read

#: The benchmark, the beginning of the finding's name, and the label of the bar.
_SHOWN: Final = (
    ("hot_read", "hot read", "read in own memory / contrib in memory"),
    ("listing", "list 1,000, hot", "list 1,000, hot / contrib in memory"),
    ("listing", "list 1,000, all at peers", "list 1,000, at peers / contrib Redis"),
    ("listing", "list 1,000, all cold, beside contrib", "list 1,000, cold / contrib Redis, cold"),
    ("peer_read", "read from a peer over TCP", "one read from a peer / contrib Redis"),
    ("commit", "commit at one of 3 nodes, beside contrib", "commit / contrib Redis"),
    ("capacity", "reads that reach PostgreSQL", "reads that reach PostgreSQL / contrib in memory"),
    ("http_load", "GET item", "time of a GET, 5 % writes / contrib Redis"),
    ("http_load", "GET item, 5% writes, beside no cache", "time of a GET, 5 % writes / no cache"),
)


def draw() -> None:
    """Draw `results/summary.png`, with a bar for each finding that has a result."""
    bars = {label: value for name, begin, label in _SHOWN if (value := _value(name, begin)) is not None}
    with pictures.picture("summary", width=9) as axes:
        axes.barh(list(bars)[::-1], list(bars.values())[::-1], color=["tab:blue"])
        axes.axvline(1, color="black", linewidth=1)
        axes.set_xlabel("ours, in parts of the other: less is better")
        axes.grid(axis="x", alpha=0.3)


def _value(name: str, begin: str) -> float | None:
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    for finding in read(path).findings:
        if finding.name.startswith(begin):
            # For requests per second more is better.
            return 1 / finding.measured.median if finding.at_least else finding.measured.median
    return None
