"""What clients asked for and what came of it: JSON lines, which the checker in `checker/` reads.

All times are nanoseconds of one monotonic clock, that of the process which asks.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType


class Outcome(str, Enum):
    """What is known of an operation."""

    OK = "ok"  #: acknowledged: a write took effect, a read gave its value
    FAILED = "failed"  #: it had no effect, for certain
    UNKNOWN = "unknown"  #: it may have taken effect, or may do so yet: it stays concurrent with all that follows


@dataclass(frozen=True, slots=True)
class Operation:
    """A read or a write of one item. `value` is what was written or found; None: no item, or no answer."""

    kind: str  #: read or write
    key: str
    value: str | None
    node: str
    client: int
    begin: int
    end: int
    outcome: Outcome
    error: str = ""  #: what the user saw in place of an answer

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) / 1e9


class History:
    """The operations of a run, which are written to a file as they end. A context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.operations: list[Operation] = []
        self.begin = time.monotonic_ns()
        self._file = path.open("w", buffering=1024 * 1024)

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, operation: Operation) -> None:
        """Note an operation that has ended."""
        self.operations.append(operation)
        fields = asdict(operation)
        fields["begin"] -= self.begin
        fields["end"] -= self.begin
        self._file.write(json.dumps(fields) + "\n")

    def flush(self) -> None:
        """Let readers of the file see everything."""
        self._file.flush()

    @property
    def errors(self) -> list[Operation]:
        """What users saw fail."""
        return [operation for operation in self.operations if operation.error]


def lost_writes(operations: list[Operation], final: dict[str, str]) -> list[str]:
    """Acknowledged writes that the final values cannot follow from, in words: plainly, and without the checker.

    A final value is right if it was written, and nothing that was acknowledged began after that write had ended.
    """
    writes: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.kind == "write" and operation.outcome is not Outcome.FAILED:
            writes.setdefault(operation.key, []).append(operation)
    lost = []
    for key, mine in sorted(writes.items()):
        written = [write for write in mine if write.value == final.get(key)]
        if not written:
            lost.append(f"{key} is {final.get(key)!r} at the end, which nobody wrote")
            continue
        # One whose answer was lost may have taken effect at any time later.
        end = written[0].end if written[0].outcome is Outcome.OK else None
        later = [w for w in mine if w.outcome is Outcome.OK and end is not None and w.begin > end]
        lost += [f"{key} is {final[key]!r} at the end: {write.value!r} was acknowledged later" for write in later]
    return lost
