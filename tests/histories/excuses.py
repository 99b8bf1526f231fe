"""The errors that users may see in a run: those that the database, or a process that is away, causes. No others.

`docs/testing.rst` lists them in a table.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.histories.history import Operation
from tests.histories.nemesis import Window

#: Seconds after a fault of the database for which its errors may go on: a process has to notice each broken connection,
#: and TCP repeats lost data only now and then.
AFTERMATH = 10.0

_NO_CONNECTION = ("no connection", "no answer: ServerDisconnectedError", "no answer: ClientOSError")


def unexcused(operations: Iterable[Operation], windows: list[Window]) -> list[Operation]:
    """Return the operations that ended with an error which nothing excuses."""
    return [operation for operation in operations if operation.error and not _is_excused(operation, windows)]


def _is_excused(operation: Operation, windows: list[Window]) -> bool:
    if operation.kind == "write" and operation.error.startswith("409 "):
        # Two transactions have written one object: the database accepts one; Guillotina has retried the other one.
        return True
    return any(_excuses(window, operation) for window in windows)


def _excuses(window: Window, operation: Operation) -> bool:
    number = int(operation.node.removeprefix("node"))
    fault = window.fault
    if number in fault.away and operation.error.startswith(_NO_CONNECTION):
        return window.meets(operation.begin, operation.end)
    if fault.without_database is not None and number not in fault.without_database:
        return False
    # An answer that is missing for so long is no error of the database, which is back sooner.
    return "TimeoutError" not in operation.error and window.meets(operation.begin, operation.end, AFTERMATH)
