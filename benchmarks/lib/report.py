"""The results of a benchmark: rows of a table with target and verdict, kept as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.lib.pairs import Spread
from harness.local import ROOT

RESULTS: Final = ROOT / "benchmarks" / "results"
_HEADER: Final = ("benchmark", "ours", "theirs", "measured (half of the rounds)", "target", "verdict")


@dataclass(frozen=True)
class Finding:
    """One row of the table. Without a target it is only for comparison."""

    name: str
    measured: Spread  #: the value that has the target, mostly the ratio of both sides
    target: float | None = None
    unit: str = "×"  #: of `measured` and `target`
    at_least: bool = False  #: whether more is better
    ours: float | None = None
    theirs: float | None = None
    sides_unit: str = ""  #: of `ours` and `theirs`

    @property
    def verdict(self) -> str:
        """Whether the target was met and, if not, by how much it was missed."""
        if self.target is None:
            return ""
        value = self.measured.median
        if value >= self.target if self.at_least else value <= self.target:
            return "met"
        if not self.target:
            return f"missed by {_short(abs(value))} {self.unit}"
        return f"missed by {abs(value / self.target - 1):.0%}"

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        low, high = self.measured.low, self.measured.high
        around = "" if low == high else f" ({_short(low)} to {_short(high)})"
        bound = "" if self.target is None else f"{'≥' if self.at_least else '≤'} {self.target:g} {self.unit}"
        return (
            self.name,
            _side(self.ours, self.sides_unit),
            _side(self.theirs, self.sides_unit),
            f"{_short(self.measured.median)} {self.unit}{around}",
            bound,
            self.verdict,
        )


@dataclass
class Answer:
    """The results of one module, whose docstring explains `details`, which is for docs and pictures."""

    findings: list[Finding] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def write(self, name: str) -> Path:
        """Keep it as `results/<name>.json`."""
        RESULTS.mkdir(exist_ok=True)
        rows = [{**asdict(finding), "verdict": finding.verdict} for finding in self.findings]
        path = RESULTS / f"{name}.json"
        content = {"name": name, "cores": os.cpu_count(), "findings": rows, "details": self.details}
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path


def read(path: Path) -> Answer:
    """Read what `Answer.write` has kept."""
    content = json.loads(path.read_text())
    findings = []
    for row in content["findings"]:
        del row["verdict"]
        findings.append(Finding(**{**row, "measured": Spread(*row["measured"])}))
    return Answer(findings, content["details"])


def table(findings: Iterable[Finding]) -> str:
    """Format findings as a table with a header."""
    lines: Sequence[tuple[str, ...]] = [_HEADER, *(finding.cells() for finding in findings)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _side(value: float | None, unit: str) -> str:
    return "" if value is None else f"{_short(value)} {unit}".strip()


def _short(value: float) -> str:
    """Format a value with three significant digits, and never an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
