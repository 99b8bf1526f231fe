"""Embedded servers that lose what they had acknowledged: after a fail-over, or put back to an earlier state."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from harness.postgres_embedded import EmbeddedPostgres


def fail_over(server: EmbeddedPostgres) -> None:
    """Do what a promoted standby does: end the recovery on a timeline of its own."""
    server.stop()
    with (server.data / "postgresql.conf").open("a") as configuration:
        configuration.write("restore_command = 'false'\n")
    begin_in_recovery(server, "recovery.signal")


def begin_in_recovery(server: EmbeddedPostgres, name: str) -> None:
    """Start a stopped server with a signal file: `standby.signal` leaves it in recovery."""
    signal = server.data / name
    signal.touch()
    shutil.chown(signal, signal.parent.owner(), signal.parent.group())
    server.start()


@contextmanager
def put_back(server: EmbeddedPostgres) -> Iterator[None]:
    """Put the server back, after the block, to the state that it had before."""
    server.stop()
    earlier = server.data.with_name("earlier")
    shutil.copytree(server.data, earlier, copy_function=shutil.copy2)
    server.start()
    yield
    server.stop()
    shutil.rmtree(server.data)
    shutil.move(earlier, server.data)
    for path in (server.data, *server.data.rglob("*")):
        shutil.chown(path, server.data.parent.owner(), server.data.parent.group())
    server.start()
