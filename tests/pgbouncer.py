"""A pgbouncer in transaction mode in front of a PostgreSQL server: it gives each transaction any connection.

The Debian package `pgbouncer` brings the program; `.ci/run` installs it where it is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import psycopg2
import pytest

from harness.local import free_port, wait_for
from harness.postgres_embedded import unprivileged_identity
from harness.postgres_server import PostgresServer

#: Debian puts it where only root's PATH leads.
_PATH: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_CONFIGURATION: Final = """
[databases]
* = host={server.host} port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
ignore_startup_parameters = extra_float_digits, search_path, statement_timeout
logfile = {folder}/log
"""


class PgBouncer(PostgresServer):
    """A running pgbouncer, which is used like the server behind it."""

    def __init__(self, server: PostgresServer, port: int) -> None:
        super().__init__("127.0.0.1", port, server.user, server.password)


@contextmanager
def running_pgbouncer(server: PostgresServer, size: int) -> Iterator[PgBouncer]:
    """Give a pgbouncer with at most `size` connections to each database of a server; it ends with the block.

    Without the program the test is skipped, and fails where `CI` is set.
    """
    program = shutil.which("pgbouncer", path=_PATH)
    if program is None:
        missing = "pgbouncer is not installed (Debian: apt-get install pgbouncer)"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    folder = Path(tempfile.mkdtemp(prefix="groupcache-pgbouncer-"))
    try:
        with _process(program, server, folder, size) as bouncer:
            yield bouncer
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _process(program: str, server: PostgresServer, folder: Path, size: int) -> Iterator[PgBouncer]:
    bouncer = PgBouncer(server, free_port())
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(_CONFIGURATION.format(server=server, port=bouncer.port, folder=folder, size=size))
    (folder / "users").write_text(f'"{server.user}" "{server.password}"\n')
    identity = unprivileged_identity()
    if identity:  # it refuses to run as root
        for path in (folder, *folder.iterdir()):
            os.chown(path, identity["user"], identity["group"])
    process = subprocess.Popen(
        [program, "-q", str(configuration)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **identity
    )
    try:
        wait_for(lambda: process.poll() is not None or _answers(bouncer), "pgbouncer to answer", _START_SECONDS)
        if process.poll() is not None:
            raise RuntimeError(f"pgbouncer ended: {(folder / 'log').read_text()}")
        yield bouncer
    finally:
        process.kill()
        process.wait(_STOP_SECONDS)


def _answers(bouncer: PgBouncer) -> bool:
    try:
        with closing(psycopg2.connect(bouncer.dsn(), connect_timeout=10)):
            return True
    except psycopg2.OperationalError:
        return False
