"""One Guillotina process with the add-on: its configuration, its log and its life."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from harness.client import PASSWORD, HttpClient, NodeError
from harness.local import ROOT, TIMEOUT, free_port, wait_for

#: The applications of a node that is given no others.
APPLICATIONS: Final = ("guillotina", "guillotina_groupcache")
#: Connections of a node to a database that is given no other number.
POOL_SIZE: Final = 8
STOP_TIMEOUT: Final = 20.0

_SERVING: Final = "serving: reads are answered from the cache"
_BYPASSING: Final = "bypassing: reads go to the database"
_PEER: Final = re.compile(r"groupcache: a peer at (.+?)(?:, for the processes .*)?$", re.MULTILINE)
_LOGGING: Final = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {"uvicorn.access": {"level": "WARNING"}},
}


def database_settings(dsn: str, name: str = "db", **settings: Any) -> dict[str, Any]:
    """Return the section of the configuration for one PostgreSQL database."""
    return {"storage": "postgresql", "dsn": dsn, "name": name, "pool_size": POOL_SIZE, **settings}


class Node:
    """A Guillotina process, which may be started more than once.

    `groupcache` is that section of the configuration, None for none; `overrides` replaces further keys of the
    configuration, `environ` adds variables. Everything is written into `folder`. `server` is the command line of a
    server of several workers, in which PORT stands for the port; without it `guillotina serve` runs one process.
    """

    def __init__(
        self,
        name: str,
        dsn: str,
        folder: Path,
        groupcache: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        server: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.port = free_port()
        self.http = HttpClient(self.port)
        self._listen: str | None = (groupcache or {}).get("listen")
        self.config_file = folder / f"{name}.yaml"
        self.log_file = folder / f"{name}.log"
        self.environ = {**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})}
        self._server = server
        self.process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        config = {
            "applications": list(APPLICATIONS),
            "databases": {"db": database_settings(dsn)},
            "root_user": {"password": PASSWORD},
            "host": "127.0.0.1",
            "port": self.port,
            "load_catalog": False,
            "logging": _LOGGING,
            **({} if groupcache is None else {"groupcache": dict(groupcache)}),
            **(overrides or {}),
        }
        self.config_file.write_text(yaml.safe_dump(config, sort_keys=False))

    # --- life

    def start(self) -> None:
        """Start the process; `wait_ready` waits until it serves."""
        if self.is_running():
            raise NodeError(f"{self.name} runs already")
        with self.log_file.open("ab") as log:
            self._log_start = log.tell()
            self.process = self._popen(self._serve(), log, log)

    def wait_ready(self, timeout: float = TIMEOUT, serving: bool = True) -> None:
        """Wait until the process answers over HTTP and, if `serving`, answers reads from the cache.

        Raises `NodeError` if it ends instead, or after `timeout` seconds.
        """

        def ready() -> bool:
            if not self.is_running():
                raise NodeError(f"{self.name} ended:\n{self.log()}")
            return (not serving or self.says_serving()) and self._answers()

        try:
            wait_for(ready, f"{self.name} to be ready", timeout)
        except TimeoutError as error:
            raise NodeError(f"{error}\n{self.log()}") from None

    def says_serving(self) -> bool:
        """Return whether the latest of its log lines about that says that it serves from the cache."""
        log = self.log()
        return log.rfind(_SERVING) > log.rfind(_BYPASSING)

    def is_running(self) -> bool:
        """Return whether the process was started and has not ended; a paused one runs."""
        return self.process is not None and self.process.poll() is None

    def stop(self, number: int = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> int:
        """Send a signal, wait for the end, and return the exit status: negative for the signal that killed it.

        Raises `NodeError` if the process does not end in `timeout` seconds.
        """
        process = self._started()
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise NodeError(f"{self.name} did not end on signal {number}:\n{self.log()}") from None

    def kill(self) -> None:
        """End the process at once, paused or not; nothing happens if it has ended."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT)

    def pause(self) -> None:
        """Stop the process where it is, as a debugger or a suspended machine would."""
        self._started().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self._started().send_signal(signal.SIGCONT)

    @property
    def address(self) -> str | None:
        """The address that its peers dial, by its log, or its `listen` before the first log line; None for a client."""
        found = _PEER.findall(self.log()) if self.log_file.exists() else None
        return found[-1] if found else self._listen

    def log(self) -> str:
        """Return what the process has written since its last start."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    # --- commands

    def run_command(self, *arguments: str, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[bytes]:
        """Run a `guillotina` command with this node's configuration to its end, standard error in `stdout`.

        Raises `subprocess.TimeoutExpired`, the command killed, after `timeout` seconds.
        """
        process = self._popen(self._guillotina(*arguments), subprocess.PIPE, subprocess.STDOUT)
        try:
            output, _ = process.communicate(timeout=timeout)
        finally:
            process.kill()
            process.wait()
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def _serve(self) -> list[str]:
        if self._server:
            server = (part.replace("PORT", str(self.port)) for part in self._server)
            return [sys.executable, "-m", *server, "guillotina.entrypoint:app"]
        return self._guillotina("serve", "--port", str(self.port))

    def _guillotina(self, command: str, *arguments: str) -> list[str]:
        program = "from guillotina.commands import command_runner; command_runner()"
        return [sys.executable, "-c", program, command, "-c", str(self.config_file), *arguments]

    def _popen(self, command: list[str], stdout: Any, stderr: Any) -> subprocess.Popen[bytes]:
        # `guillotina.entrypoint` finds its configuration in the environment.
        environ = {**self.environ, **({"G_CONFIG_FILE": str(self.config_file)} if self._server else {})}
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=ROOT, env=environ)

    def _started(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, f"{self.name} was not started"
        return self.process

    def _answers(self) -> bool:
        try:
            return self.http.get("/").status == 200
        except (OSError, http.client.HTTPException):
            return False
