"""A Guillotina add-on for the tests: a process waits, before it knows its database, until a file exists."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

#: The variable that names the file; the file of `reached` says that a process waits for it.
GATE = "GROUPCACHE_TEST_GATE"
TIMEOUT = 60.0


def reached(gate: Path) -> Path:
    """Return the file that exists once the process waits."""
    return gate.with_suffix(".reached")


def includeme(root: Any, settings: Any) -> None:
    """Guillotina's hook for add-ons."""
    if name := os.environ.get(GATE):
        gate, end = Path(name), time.monotonic() + TIMEOUT
        reached(gate).touch()
        while not gate.exists():
            if time.monotonic() > end:
                raise TimeoutError("the gate was not opened")
            time.sleep(0.005)
