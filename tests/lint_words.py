"""Find words that the project has given up: `python -m tests.lint_words`, which `make lint` runs.

`words.toml` says for each what to write instead, how to recognise it, and which ordinary uses of it stay.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).with_name("words.toml")

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def spelled(text: str) -> str:
    """Text with its identifiers as words: `inStanding` and `IN_STANDING` become "in standing"."""
    return _CAMEL.sub(" ", text).replace("_", " ").lower()


def _union(patterns: Sequence[str], flags: int = 0) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), flags) if patterns else None


@dataclass(frozen=True)
class Term:
    """A word that is given up. See the comment at the top of words.toml."""

    was: str
    use: str
    words: Sequence[str] = ()
    code: Sequence[str] = ()
    files: Sequence[str] = ()
    ordinary: Sequence[str] = ()
    only: Sequence[str] = ("*",)
    never: Sequence[str] = ()
    found: Sequence[str] = ()
    passed: Sequence[str] = field(default=())

    def compiled(self) -> Compiled:
        return Compiled(
            self, _union(self.words), _union(self.code), _union(self.files), _union(self.ordinary, re.IGNORECASE)
        )


class Compiled(NamedTuple):
    term: Term
    words: re.Pattern[str] | None
    code: re.Pattern[str] | None
    files: re.Pattern[str] | None
    ordinary: re.Pattern[str] | None

    def applies_to(self, path: str) -> bool:
        return _matches(path, self.term.only) and not _matches(path, self.term.never)

    def in_line(self, line: str) -> str | None:
        """What the line has of this term, if anything."""
        if self.ordinary is not None:
            line = self.ordinary.sub(" ", line)
        if self.code is not None and (match := self.code.search(line)):
            return match.group()
        if self.words is None:
            return None
        words = spelled(line)
        if self.ordinary is not None:
            words = self.ordinary.sub(" ", words)
        match = self.words.search(words)
        return match.group() if match else None


class Table(NamedTuple):
    skip: Sequence[str]
    listed: Sequence[str]
    terms: Sequence[Compiled]


def _matches(path: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(path, glob) for glob in globs)


def read_table(path: Path = TABLE) -> Table:
    fields: dict[str, Any] = tomllib.loads(path.read_text())
    return Table(fields["skip"], fields["renames"], [Term(**term).compiled() for term in fields["term"]])


def in_path(path: str, table: Table) -> Iterator[str]:
    """A message for each term in a file's name."""
    for one in table.terms:
        if one.files is not None and (match := one.files.search(path)):
            yield f"{path}: {match.group()} → {one.term.use}"


def in_text(path: str, text: str, table: Table) -> Iterator[str]:
    """A message for each term in each line of a file."""
    terms = [one for one in table.terms if one.applies_to(path)]
    renames = _matches(path, table.listed)
    for number, line in enumerate(text.splitlines(), 1):
        if renames and "→" in line:
            continue
        for one in terms:
            if found := one.in_line(line):
                yield f"{path}:{number}: {found.strip()} → {one.term.use}"


def tracked() -> list[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in names.split("\0") if name and (ROOT / name).is_file()]


def main() -> int:
    table, count = read_table(), 0
    for path in tracked():
        if _matches(path, table.skip):
            continue
        try:
            text = (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue  # a picture
        for message in (*in_path(path, table), *in_text(path, text, table)):
            print(message)
            count += 1
    if count:
        print(f"{count} words that the project has given up. tests/words.toml says what each was and which uses stay.")
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main())
