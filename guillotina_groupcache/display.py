"""Text from outside, as a line of the log or an error message shows it."""

from __future__ import annotations


def shown(value: object) -> str:
    """A value as an error message shows it: on one line, and at most 120 characters of it."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:119]}…"


def printable(text: str) -> str:
    """A text in which characters that a terminal obeys, or that begin a new line, are escaped."""
    return text if text.isprintable() else repr(text)[1:-1]
