"""A peer may answer a request for its statistics with anything: that costs its own line in the report and no more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from guillotina_groupcache import peer_stats
from guillotina_groupcache.status import report, table
from tests.unit.test_status import stats

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "answer",
    [
        "{",
        "",
        '{"reason": "\\ud800"}',
        "7",
        "null",
        "[]",
        '"text"',
        pytest.param(DEEP, id="deep"),
        '{"hits": {"own": "many"}}',
        '{"gets": "many"}',
        '{"gets": 1e999}',
        '{"since": null}',
        '{"hits": [1]}',
        '{"members": [{"state": "in"}]}',
        '{"members": [17]}',
        '{"unreachable_databases": 3}',
        '{"outside_writes": {"by_application": [{"application": 1}]}}',
        '{"main": 7}',
        '{"network": {"faults": 3}}',
        '{"incarnation": 5}',
        '{"reason": ["x"]}',
    ],
)
def test_an_answer_that_cannot_be_read(answer: str) -> None:
    whole = stats([], [])
    good: dict[str, Any] = {**whole["peers"][0], "incarnation": "0", "epoch": "0"}
    whole["members"] = [{**row, "incarnation": str(row["incarnation"])} for row in whole["members"]]
    peers = peer_stats.decode(json.dumps([json.dumps(good), answer]).encode())
    assert peers == [good, {"error": "its statistics cannot be read"}]
    shown = report({**whole, "peers": peers})
    assert [member["answered"] for member in shown["members"]] == [True, False]
    assert "127.0.0.1:1 does not answer: no statistics, though it is connected" in table(shown)


def test_characters_that_a_terminal_would_obey() -> None:
    odd = "a\nNothing is wrong.\x1b[2J"
    whole = stats([{"application": odd, "notes": 1, "rows": 1, "last": 1.0}])
    whole["members"][0] |= {"address": odd, "host": odd, "reason": odd, "state": "out"}
    whole["peers"][0] |= {"reason": odd, "serving": False, "versions": odd, "unreachable_databases": [odd]}
    lines = table(report(whole)).split("\n")
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("Nothing is wrong") for line in lines)
