"""The faults of a run follow from its seed."""

from __future__ import annotations

from collections import Counter

from tests.histories.deck import Deck


def test_one_seed_one_story() -> None:
    one, same = Deck(7, 5, True), Deck(7, 5, True)
    for _ in range(3):
        assert list(one.deal()) == list(same.deal())
    assert list(Deck(7, 5, True).deal()) != list(Deck(8, 5, True).deal())


def test_every_kind_is_dealt() -> None:
    for seed in range(20):
        faults = [fault for step in Deck(seed, 3, True).deal() for _, fault in step.faults]
        kinds = Counter(type(fault).__name__ for fault in faults)
        assert kinds == {
            "Stopped": 3,
            "Killed": 2,
            "Restarted": 1,
            "Cut": 4,
            "CutFromDatabase": 1,
            "Isolated": 1,
            "DatabaseRestarted": 2,
        }


def test_what_cannot_be_restarted_is_not() -> None:
    faults = [fault for step in Deck(1, 3, False).deal() for _, fault in step.faults]
    assert "DatabaseRestarted" not in {type(fault).__name__ for fault in faults}


def test_faults_that_overlap_change_different_things() -> None:
    overlaps = 0
    for seed in range(20):
        for step in Deck(seed, 3, True).deal():
            changed = [what for _, fault in step.faults for what in fault.needs]
            assert len(changed) == len(set(changed))
            overlaps += len(step.faults) > 1
    assert overlaps
