"""Real Guillotina processes with the add-on: what the demo, the tests and the benchmarks run.

`Cluster(dsn, 3)` is a context manager with three `nodes`; `node.http.get(f"{CONTAINER}/an-item")` asks one.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from harness.client import CONTAINER, PASSWORD, HttpClient, NodeError

ROOT: Final = Path(__file__).resolve().parent.parent

#: Of clusters over TCP that are given no secret of their own.
SECRET: Final = "a secret of demo and tests, known to all"

#: Seconds until what is waited for counts as failed. Nothing waits longer than it has to.
START_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 20.0
POLL: Final = 0.02
START_TRIES: Final = 5

_IN_STANDING: Final = "serving: reads are answered from the cache"
_NOT_IN_STANDING: Final = "bypassing: reads go to the database"
_PEER: Final = re.compile(r"groupcache: a peer at (.+?)(?:, for the processes .*)?$", re.MULTILINE)
_LOGGING: Final = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {"uvicorn.access": {"level": "WARNING"}},
}

T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str, timeout: float = START_TIMEOUT) -> T:
    """The first true value of `condition`. Raises `TimeoutError` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:.0f} s in vain for: {what}")
        time.sleep(POLL)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on.

    It lies below the ranges from which systems number outgoing connections (Linux 32768, others 49152), so
    none of those takes it before it is used.
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


class Node:
    """One Guillotina process: its configuration, its log, and its life, which may begin more than once.

    `groupcache` is that section of the configuration, None for none; `overrides` replaces further keys of the
    configuration, `environ` adds variables. Everything is written into `folder`.
    """

    def __init__(
        self,
        name: str,
        dsn: str,
        folder: Path,
        groupcache: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.port = free_port()
        self.http = HttpClient(self.port)
        self._listen: str | None = (groupcache or {}).get("listen")
        self.config_file = folder / f"{name}.yaml"
        self.log_file = folder / f"{name}.log"
        self.environ = {**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        config = {
            "applications": ["guillotina", "guillotina_groupcache"],
            "databases": {"db": {"storage": "postgresql", "dsn": dsn, "name": "db", "pool_size": 8}},
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
        """Start the process; `wait_ready` tells when it serves."""
        if self.is_running():
            raise NodeError(f"{self.name} runs already")
        with self.log_file.open("ab") as log:
            self._log_start = log.tell()
            self.process = self._guillotina("serve", "--port", str(self.port), stdout=log, stderr=log)

    def wait_ready(self, timeout: float = START_TIMEOUT, in_standing: bool = True) -> None:
        """Wait until it answers over HTTP and, if `in_standing`, serves from the cache.

        Raises `NodeError` if it ends instead, or after `timeout` seconds.
        """

        def ready() -> bool:
            if not self.is_running():
                raise NodeError(f"{self.name} ended:\n{self.log()}")
            return (not in_standing or self.says_in_standing()) and self._answers()

        try:
            wait_for(ready, f"{self.name} to be ready", timeout)
        except TimeoutError as error:
            raise NodeError(f"{error}\n{self.log()}") from None

    def says_in_standing(self) -> bool:
        """Whether the last that its log says about it is that it serves from the cache."""
        log = self.log()
        return log.rfind(_IN_STANDING) > log.rfind(_NOT_IN_STANDING)

    def is_running(self) -> bool:
        """Whether the process was started and has not ended; a paused one runs."""
        return self.process is not None and self.process.poll() is None

    def stop(self, number: int = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> int:
        """Send a signal and wait for the end; the exit status, negative for the signal that killed it.

        Raises `NodeError` if it does not end in `timeout` seconds.
        """
        assert self.process is not None, f"{self.name} was not started"
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise NodeError(f"{self.name} did not end on signal {number}:\n{self.log()}") from None

    def kill(self) -> None:
        """End the process at once, paused or not; nothing happens if it has ended."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT)

    def pause(self) -> None:
        """Stop the process where it is, as a debugger or a suspended machine would."""
        assert self.process is not None, f"{self.name} was not started"
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        assert self.process is not None, f"{self.name} was not started"
        self.process.send_signal(signal.SIGCONT)

    @property
    def address(self) -> str | None:
        """What its peers dial: what its log says, or, before it has said anything, its `listen`; None for a client."""
        found = _PEER.findall(self.log()) if self.log_file.exists() else None
        return found[-1] if found else self._listen

    def log(self) -> str:
        """What the process has written since its last start."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    # --- what else is done with its configuration

    def run_command(self, *arguments: str, timeout: float = START_TIMEOUT) -> subprocess.CompletedProcess[bytes]:
        """Run a `guillotina` command with this node's configuration to its end, standard error in `stdout`.

        Raises `subprocess.TimeoutExpired`, the command killed, after `timeout` seconds.
        """
        process = self._guillotina(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output, _ = process.communicate(timeout=timeout)
        finally:
            process.kill()
            process.wait()
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def _guillotina(self, command: str, *arguments: str, stdout: Any, stderr: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(sys.executable, "-c", "from guillotina.commands import command_runner; command_runner()"),
                *(command, "-c", str(self.config_file), *arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=ROOT,
            env=self.environ,
        )

    def _answers(self) -> bool:
        try:
            return self.http.get("/").status == 200
        except (OSError, http.client.HTTPException):
            return False


class Cluster:
    """Some nodes over one database: a context manager, at whose end every process it started has ended.

    `groupcache` (on top of `listen` and `secret`), `overrides` and `environ` go to every node. `sections` are whole
    `groupcache` sections instead of these, one per node, None for none.
    """

    def __init__(
        self,
        dsn: str,
        size: int = 3,
        secret: str = SECRET,
        groupcache: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        sections: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> None:
        self.nodes: list[Node] = []
        self.folder = Path(tempfile.mkdtemp(prefix="groupcache-cluster-"))
        self.dsn = dsn
        self._size = size
        self._sections = sections
        self._groupcache = {"secret": secret, **(groupcache or {})}
        self._overrides = overrides
        self._environ = environ
        self._made = 0

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]

    def _start(self) -> None:
        for attempt in range(1, START_TRIES + 1):
            if self._sections is None:
                self.nodes = [self._node(self._section()) for _ in range(self._size)]
            else:
                self.nodes = [self._node(section) for section in self._sections]
            try:
                # The first one alone: Guillotina makes its tables, and two that do so at once fail.
                for batch in self.nodes[:1], self.nodes[1:]:
                    for node in batch:
                        node.start()
                    for node in batch:
                        node.wait_ready()
                break
            except NodeError as error:
                # Somebody else may have taken a port meanwhile.
                if attempt == START_TRIES or "in use" not in str(error):
                    raise
                self._kill_all()
        made = self[0].http.post("/db", {"@type": "Container", "id": CONTAINER.rpartition("/")[2]})
        if made.status not in (200, 409):
            raise NodeError(f"the container could not be made: {made.status} {made.body!r}")
        self.wait_whole()

    def _section(self) -> Mapping[str, Any]:
        return {"listen": f"127.0.0.1:{free_port()}", **self._groupcache}

    def _node(self, section: Mapping[str, Any] | None) -> Node:
        self._made += 1
        return Node(f"node{self._made}", self.dsn, self.folder, section, self._overrides, self._environ)

    def add_node(self) -> Node:
        """One more node of the cluster, not started yet."""
        self.nodes.append(self._node(self._section()))
        return self.nodes[-1]

    def wait_whole(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until every running node serves from the cache and is connected with every other one."""
        running = [node for node in self.nodes if node.is_running()]
        addresses = {node.address for node in running}

        def whole(node: Node) -> bool:
            stats = node.http.stats()
            members = [row for row in stats["members"] or () if row["state"] == "in" and row["connected"]]
            known = {node.address, *(row["address"] for row in members)}
            return bool(stats["serving"]) and known >= addresses

        for node in running:
            wait_for(partial(whole, node), f"{node.name} to know every other", timeout)

    def close(self) -> None:
        """End every process, and remove what was written; a second call does nothing."""
        for node in self.nodes:
            if node.is_running():
                node.resume()
                assert node.process is not None
                node.process.terminate()
        try:
            for node in self.nodes:
                if node.is_running():
                    node.stop()
        finally:
            self._kill_all()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _kill_all(self) -> None:
        for node in self.nodes:
            node.kill()
