"""Kills processes when their owner has ended: `python keeper.py`, with process ids on standard input, one per line.

Its owner holds the other end of the pipe, which breaks however the owner ends. It is a program of its own and needs
nothing but Python.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

if __name__ == "__main__":
    # Descriptors: a number may belong to another process by the time that it is needed.
    watched: list[int] = []
    for line in sys.stdin:
        with contextlib.suppress(ProcessLookupError):
            watched.append(os.pidfd_open(int(line)))
    for process in watched:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
