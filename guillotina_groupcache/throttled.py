"""Log lines that a peer, or anybody who writes to the database, can cause at will: one per kind in `LOG_EVERY` seconds.

The library throttles its own log lines in the same way, and with the same words (go/internal/transport/faults.go).
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Final

#: Seconds between two log lines of one kind.
LOG_EVERY: Final = 10.0


class Throttled:
    """Logs the first of each kind in `LOG_EVERY` seconds, and counts the others."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._logged: dict[str, float] = {}  # when a kind was last logged
        self._muted: Counter[str] = Counter()  # how many of a kind were not logged since

    def warning(self, kind: str, message: str, *arguments: object) -> None:
        """Log a line, or count it if one of its kind was logged less than `LOG_EVERY` seconds ago.

        A kind is a constant of the code, so that there are few. `arguments` are not checked: they must be short and
        printable (`display`).
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
