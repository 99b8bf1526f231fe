"""The benchmarks' modules can be started. What they measure is no test."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.lib import command
from benchmarks.lib.pairs import Spread, by_turns, ratio, spread
from benchmarks.lib.policies import POLICIES, best_share, hit_share
from benchmarks.lib.report import Finding, table


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_takes_its_defaults(name: str) -> None:
    benchmark = importlib.import_module(f"benchmarks.{name}")
    assert command.parser_of(benchmark).parse_args([])
    assert benchmark.answer


def test_sides_take_turns_in_beginning_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    measured = by_turns({"a": lambda: side("a"), "b": lambda: side("b")}, 2)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert measured == {"a": [4.0, 5.0], "b": [3.0, 6.0]}
    assert ratio(measured["a"], measured["b"]).median == pytest.approx((4 / 3 + 5 / 6) / 2)


def test_a_spread_is_the_median_and_the_quartiles() -> None:
    assert spread([5, 1, 2, 3, 4]) == Spread(3, 2, 4)
    assert spread([7]) == Spread(7, 7, 7)


@pytest.mark.parametrize(
    ("measured", "at_least", "verdict"),
    [(0.5, False, "met"), (0.75, False, "missed by 50%"), (0.75, True, "met"), (0.25, True, "missed by 50%")],
)
def test_a_verdict_says_by_how_much_a_target_was_missed(measured: float, at_least: bool, verdict: str) -> None:
    finding = Finding("a read", Spread(measured, measured, measured), 0.5, at_least=at_least)
    assert finding.verdict == verdict
    assert verdict in table([finding])


def test_policies_keep_their_size_and_none_is_better_than_the_best() -> None:
    # A hundred keys that are read again and again, and a walk over a thousand others in between.
    hot = [(key, 10) for key in range(100)] * 5
    trace = [*hot, *((key, 10) for key in range(1000, 2000)), *hot]
    best = best_share(trace, 1500)
    assert best == (len(trace) - 1100) / len(trace)
    shares = {name: hit_share(policy(1500), trace) for name, policy in POLICIES.items()}
    assert shares["LRU"] == (len(trace) - 1200) / len(trace)
    assert shares["LRU"] < shares["S3-FIFO"] <= best
    assert shares["LRU"] < shares["W-TinyLFU"] <= best
    for name, policy in POLICIES.items():
        assert hit_share(policy(5), trace) == 0, name
