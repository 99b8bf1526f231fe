"""The operations of clients and their outcomes, as JSON lines, which the checker in `checker/` reads.

All times are nanoseconds of one monotonic clock, that of the client's process.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType


class Outcome(str, Enum):
    """The known outcome of an operation."""

    OK = "ok"  #: acknowledged: a write took effect, a read gave its value
    FAILED = "failed"  #: it certainly had no effect
    UNKNOWN = "unknown"  #: it may have taken effect, or may still do so: it stays concurrent with all that follows


@dataclass(frozen=True, slots=True)
class Operation:
    """A read or a write of one item. `value` was written or found; None: no item, or no answer."""

    kind: str  #: read or write
    key: str
    value: str | None
    node: str
    client: int
    begin: int
    end: int
    outcome: Outcome
    error: str = ""  #: what the user saw instead of an answer

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) / 1e9


class History:
    """The operations of a run, written to a file as they end. A context manager."""

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
        """Record an operation that has ended."""
        self.operations.append(operation)
        fields = asdict(operation)
        fields["begin"] -= self.begin
        fields["end"] -= self.begin
        self._file.write(json.dumps(fields) + "\n")

    def flush(self) -> None:
        """Make everything visible to readers of the file."""
        self._file.flush()

    @property
    def errors(self) -> list[Operation]:
        """The operations that users saw fail."""
        return [operation for operation in self.operations if operation.error]


def lost_writes(operations: list[Operation], final: dict[str, str]) -> list[str]:
    """Return the acknowledged writes that the final values contradict, found plainly and without the checker.

    A final value is right if it was written, and no acknowledged write began after that write had ended.
    """
    writes: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.kind == "write" and operation.outcome is not Outcome.FAILED:
            writes.setdefault(operation.key, []).append(operation)
    lost = []
    for key, mine in sorted(writes.items()):
        written = [write for write in mine if write.value == final.get(key)]
        if not written:
            lost.append(f"{key} is {final.get(key)!r} at the end, which no client wrote")
            continue
        # A write whose answer was lost may have taken effect at any later time.
        end = written[0].end if written[0].outcome is Outcome.OK else None
        later = [w for w in mine if w.outcome is Outcome.OK and end is not None and w.begin > end]
        lost += [f"{key} is {final[key]!r} at the end: {write.value!r} was acknowledged later" for write in later]
    return lost
