"""Log lines that a peer, or whoever writes to the database, can cause at will: one a kind in a while.

The library does the same with what it notices (go/internal/transport/faults.go), and by the same words.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Final

#: Seconds between two lines of one kind.
LOG_EVERY: Final = 10.0


class Throttled:
    """Logs the first of each kind in `LOG_EVERY` seconds, and counts the others."""

    __slots__ = ("_logged", "_logger", "_muted")

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._logged: dict[str, float] = {}  # when a kind was logged last
        self._muted: Counter[str] = Counter()  # those of a kind that were not logged since

    def warning(self, kind: str, message: str, *arguments: object) -> None:
        """Log a line, unless one of its kind was logged a short time ago: then it is counted.

        A kind is a constant of the code, so that there are few. What is in `arguments` is shown as it is: it has to be
        short and printable (`section.shown`).
        """
        now = time.monotonic()
        if now < self._logged.get(kind, -LOG_EVERY) + LOG_EVERY:
            self._muted[kind] += 1
            return
        self._logged[kind] = now
        if muted := self._muted.pop(kind, 0):
            message += " (and %d more of this kind since the last such line)"
            arguments = (*arguments, muted)
        self._logger.warning(message, *arguments)
