"""Measurements by turns: times drift on shared machines, so only values measured side by side are compared."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """The median and the quartiles of some values: half of these lie between `low` and `high`."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles."""
    if len(values) < 2:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def by_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return each side's measurements. Every round begins with another side, and the first round is not counted."""
    names = list(sides)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            value = sides[name]()
            if number:
                measured[name].append(value)
    return measured


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the spread of the rounds' ratios."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the spread of the rounds' differences."""
    return spread([a - b for a, b in zip(ours, theirs, strict=True)])
