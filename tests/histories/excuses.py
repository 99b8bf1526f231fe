"""Which errors users may see in a run: those that the database causes, and a process that is away. No others.

`docs/testing.rst` has them as a table.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.histories.history import Operation
from tests.histories.nemesis import Window

#: Seconds after a fault of the database for which its errors may go on: a process has to notice each connection
#: that broke, and TCP sends what was lost again only then and now.
AFTERMATH = 10.0

_NO_CONNECTION = ("no connection", "no answer: ServerDisconnectedError", "no answer: ClientOSError")


def unexcused(operations: Iterable[Operation], windows: list[Window]) -> list[Operation]:
    """The operations that ended with an error which nothing excuses."""
    return [operation for operation in operations if operation.error and not _is_excused(operation, windows)]


def _is_excused(operation: Operation, windows: list[Window]) -> bool:
    if operation.kind == "write" and operation.error.startswith("409 "):
        # Two transactions have written one object: the database lets one through, and Guillotina has tried four
        # times.
        return True
    number = int(operation.node.removeprefix("node"))
    for window in windows:
        fault = window.fault
        if number in fault.away and operation.error.startswith(_NO_CONNECTION):
            if window.meets(operation.begin, operation.end):
                return True
        # An answer that never comes is no error of the database: that is back.
        elif fault.without_database is None or number in fault.without_database:
            if window.meets(operation.begin, operation.end, AFTERMATH) and "TimeoutError" not in operation.error:
                return True
    return False
