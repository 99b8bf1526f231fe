"""Ends processes when their owner has ended: `python keeper.py`, with process ids on standard input, one a line.

Its owner holds the other end of the pipe, and that breaks however the owner ends. A program of its own, which
needs nothing but Python.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

if __name__ == "__main__":
    # Descriptors, as a number may be another process' by the time that it is needed.
    watched: list[int] = []
    for line in sys.stdin:
        with contextlib.suppress(ProcessLookupError):
            watched.append(os.pidfd_open(int(line)))
    for process in watched:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
