"""Log lines that a peer, or a row, can cause at will: one per kind in a while."""

from __future__ import annotations

import logging
import time

import pytest

from guillotina_groupcache.display import printable
from guillotina_groupcache.throttled import LOG_EVERY, Throttled

LOGGER = logging.getLogger("guillotina_groupcache")


def test_one_line_per_kind_in_a_while(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines = Throttled(LOGGER)
    for number in range(1000):
        lines.warning("a", "a %d", number)
    lines.warning("b", "b: %s", "100 %")
    now = LOG_EVERY
    for number in range(2):
        lines.warning("a", "a %d", number)
        lines.warning("b", "b: %s", number)
    assert [record.getMessage() for record in caplog.records] == [
        "a 0",
        "b: 100 %",
        "a 0 (and 999 more of this kind since the last such line)",
        "b: 0",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("it's \\ ünï", "it's \\ ünï"),
        ("a\nb\x1b[2J\u202e\u2028", r"a\nb\x1b[2J\u202e\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_a_text_that_a_terminal_does_not_obey(text: str, shown: str) -> None:
    assert printable(text) == shown
