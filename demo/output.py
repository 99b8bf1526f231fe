"""The demo's output: titles, sentences and tables, and the check that they are true."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

WIDTH: Final = 100
_INDENT: Final = "   "


class Untrue(Exception):
    """The demo was about to print something that is not true."""


def title(text: str) -> None:
    """Begin a step."""
    print(f"\n{text}\n{'-' * len(text)}")


def say(text: str) -> None:
    """Print a paragraph."""
    print(textwrap.fill(" ".join(text.split()), WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT))


def check(true: bool, otherwise: str) -> None:
    """Raise `Untrue` with `otherwise` unless `true`."""
    if not true:
        raise Untrue(otherwise)


def table(head: str, columns: Sequence[str], rows: Iterable[tuple[str, Mapping[str, object]]]) -> None:
    """Print rows, each a name and its values by column; a missing value is shown as a dot."""
    rows = list(rows)
    first = max(len(head), *(len(name) for name, _ in rows))
    print(f"\n{_INDENT}{head:<{first}}" + "".join(f"  {column:>{_width(column)}}" for column in columns))
    for name, values in rows:
        cells = (f"  {values.get(column) or '.':>{_width(column)}}" for column in columns)
        print(f"{_INDENT}{name:<{first}}" + "".join(cells))


def _width(column: str) -> int:
    return max(len(column), 6)
