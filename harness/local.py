"""Small tools for this machine: the checkout's folder, free ports, and waiting."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

ROOT: Final = Path(__file__).resolve().parent.parent

#: Seconds until a condition that does not become true counts as failed. Nothing waits longer than it has to.
TIMEOUT: Final = 60.0
_POLL: Final = 0.02

T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str, timeout: float = TIMEOUT) -> T:
    """Return the first true value of `condition`. Raises `TimeoutError` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:.0f} s in vain for: {what}")
        time.sleep(_POLL)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens.

    It lies below the ranges from which systems number outgoing connections (Linux 32768, others 49152), so that
    no outgoing connection takes it before it is used.
    """
    while True:
        port = random.randint(10240, 32767)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
