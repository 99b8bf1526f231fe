"""The keeper of one embedded PostgreSQL server: `python postgres_keeper.py DIRECTORY`.

It waits for its standard input to end, then stops the server and deletes the directory. Its owner holds the
other end of the pipe, which breaks however the owner ends, also by SIGTERM and SIGKILL, where an `atexit`
handler would not run. It is a program of its own and needs nothing but Python.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

STOP_SECONDS = 30.0


def data_of(directory: Path) -> Path:
    """Return PostgreSQL's data directory in the directory of a server."""
    return directory / "data"


def server_pid(directory: Path) -> int | None:
    """Return the process id of the server in this directory; None if none runs."""
    try:
        return int((data_of(directory) / "postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, IndexError):
        return None


def stop_and_delete(directory: Path) -> None:
    """End the server, within `STOP_SECONDS`, and delete its directory."""
    pid = server_pid(directory)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)  # an immediate shutdown: nothing reads the data again
        # The file, not the process, says when it has ended: where nothing reaps orphans, a zombie accepts signals.
        deadline = time.monotonic() + STOP_SECONDS
        while server_pid(directory) == pid and time.monotonic() < deadline:
            time.sleep(0.05)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    stop_and_delete(Path(sys.argv[1]))
