"""The checks of a run find what is wrong: the checker, used as a run uses it, and the two checks beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.histories.checker import check
from tests.histories.excuses import unexcused
from tests.histories.faults import Cut, CutFromDatabase, DatabaseRestarted, Fault, Killed, Stopped
from tests.histories.history import History, Operation, Outcome, lost_writes
from tests.histories.nemesis import Window
from tests.histories.network import DATABASE

SECOND = 10**9


def written(value: str, begin: int, end: int, outcome: Outcome = Outcome.OK) -> Operation:
    return Operation("write", "item", value, "node1", 1, begin, end, outcome)


def found(value: str, begin: int, end: int, node: str = "node2") -> Operation:
    return Operation("read", "item", value, node, 2, begin, end, Outcome.OK)


RIGHT = [written("a", 1, 2), found("a", 3, 4), written("b", 5, 9), found("a", 6, 7), found("b", 6, 8)]
WRONG = {
    "a stale read": [written("a", 1, 2), written("b", 3, 4), found("a", 5, 6)],
    "a lost write": [written("a", 1, 2), written("b", 3, 4), found("b", 5, 6), found("a", 7, 8), found("a", 9, 10)],
    "a pair of reads that go back": [written("a", 1, 2), written("b", 3, 10), found("b", 4, 5), found("a", 6, 7)],
    "a write without an answer that came and went": [
        written("a", 1, 2),
        written("b", 3, 4, Outcome.UNKNOWN),
        found("b", 5, 6),
        found("a", 7, 8, "node3"),
    ],
}


def in_file(folder: Path, operations: list[Operation]) -> Path:
    with History(folder / "history.jsonl") as history:
        for operation in operations:
            history.add(operation)
    return history.path


def test_a_right_history_is_accepted(checker: Path, tmp_path: Path) -> None:
    assert check(checker, in_file(tmp_path, RIGHT)).linearizable


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_history_is_rejected(checker: Path, tmp_path: Path, name: str) -> None:
    verdict = check(checker, in_file(tmp_path, WRONG[name]))
    assert not verdict.linearizable
    assert "item is not linearizable" in verdict.text
    assert ">>>" in verdict.text


@pytest.mark.parametrize("lines", ["", "no JSON\n", json.dumps({"kind": "read"}) + "\n"])
def test_what_is_no_history_has_no_verdict(checker: Path, tmp_path: Path, lines: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(lines)
    with pytest.raises(RuntimeError, match="no verdict"):
        check(checker, path)


# --- lost writes


@pytest.mark.parametrize("final", ["b", "c"])
def test_the_last_of_overlapping_writes_may_be_any(final: str) -> None:
    assert not lost_writes([written("a", 1, 2), written("b", 3, 9), written("c", 4, 8)], {"item": final})


def test_a_write_without_an_answer_may_come_last() -> None:
    operations = [written("a", 1, 2, Outcome.UNKNOWN), written("b", 3, 4)]
    assert not lost_writes(operations, {"item": "a"})


@pytest.mark.parametrize("final", [{"item": "a"}, {"item": "x"}, {}])
def test_lost_writes_are_found(final: dict[str, str]) -> None:
    assert lost_writes([written("a", 1, 2), written("b", 3, 4)], final)


# --- errors


def failed(error: str, kind: str = "read", node: str = "node1", begin: int = 10, end: int = 11) -> Operation:
    return Operation(kind, "item", None, node, 1, begin * SECOND, end * SECOND, Outcome.UNKNOWN, error)


CUT = Cut(5.0, ((1, 2), (2, 1)), "a cut")
CUT_FROM_DATABASE = CutFromDatabase(5.0, ((1, DATABASE), (DATABASE, 1)), "a cut")
REFUSED = "no connection: Connection refused"


@pytest.mark.parametrize(
    ("fault", "operation"),
    [
        (CUT, failed("409 conflict", "write")),
        (Killed(1.0, 1), failed(REFUSED)),
        (Killed(1.0, 1), failed("no answer: ServerDisconnectedError", begin=5)),
        (DatabaseRestarted(1.0, "fast"), failed("500 unknown", node="node3")),
        (DatabaseRestarted(1.0, "fast"), failed("400 closed", begin=20, end=21)),
        (CUT_FROM_DATABASE, failed("500 unknown")),
    ],
)
def test_what_the_database_or_an_absence_causes_is_excused(fault: Fault, operation: Operation) -> None:
    assert unexcused([operation], [Window(fault, 9 * SECOND, 12 * SECOND)]) == []


@pytest.mark.parametrize(
    ("fault", "operation"),
    [
        (CUT, failed("500 unknown")),
        (CUT, failed("409 conflict", "read")),
        (CUT, failed(REFUSED)),
        (Stopped(1.0, 1), failed("no answer: ServerDisconnectedError")),
        (Killed(1.0, 1), failed(REFUSED, node="node2")),
        (Killed(1.0, 1), failed("500 unknown")),
        (Killed(1.0, 1), failed(REFUSED, begin=13, end=14)),
        (DatabaseRestarted(1.0, "fast"), failed("500 unknown", begin=7, end=8)),
        (DatabaseRestarted(1.0, "fast"), failed("500 unknown", begin=30, end=31)),
        (DatabaseRestarted(1.0, "fast"), failed("no answer: TimeoutError", end=70)),
        (CUT_FROM_DATABASE, failed("500 unknown", node="node2")),
    ],
)
def test_other_errors_are_not(fault: Fault, operation: Operation) -> None:
    assert unexcused([operation], [Window(fault, 9 * SECOND, 12 * SECOND)]) == [operation]
