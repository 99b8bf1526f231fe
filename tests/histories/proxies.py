"""A network of TCP proxies, for machines without network namespaces.

Every node advertises the address of a proxy instead of its own, and reaches the database through another proxy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

from harness.local import ROOT, free_port
from harness.postgres import DSN_VARIABLE, running_postgres
from harness.postgres_server import PostgresServer
from tests.histories.network import Host, Network
from tests.histories.server import DurablePostgres


class _Proxy:
    """The process of the proxies. Threads may share it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.histories.proxy"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,  # a Ctrl-C in the terminal is for its owner
        )
        self._lock = threading.Lock()

    def call(self, operation: str, *arguments: Any) -> Any:
        """Have the process do an operation, and return its result."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._lock:
            print(json.dumps([operation, *arguments]), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class _ProxyHost(Host):
    def __init__(self, number: int, proxy: _Proxy, postgres: PostgresServer) -> None:
        self.number = number
        self._proxy, self._postgres = proxy, postgres
        self._port = free_port()
        self._advertised = proxy.call("node", number, self._port)
        self._database = proxy.call("database", number, postgres.host, postgres.port)

    @property
    def groupcache(self) -> dict[str, str]:
        return {"listen": f"127.0.0.1:{self._port}", "advertise": f"127.0.0.1:{self._advertised}"}

    def dsn(self, database: str) -> str:
        server = self._postgres
        return PostgresServer("127.0.0.1", self._database, server.user, server.password).dsn(database)

    def entered(self) -> AbstractContextManager[None]:
        return nullcontext()

    def started(self, pid: int) -> None:
        self._proxy.call("started", self.number, pid)


class ProxyNetwork(Network):
    """A network of nodes on this host's loopback, with proxies in between."""

    def __init__(self, size: int, reason: str) -> None:
        """`reason` says why there are no namespaces."""
        self._ends = ExitStack()
        try:
            # The user's own server is used if there is one; Docker's would have to be restarted in another way.
            server = running_postgres() if DSN_VARIABLE in os.environ else DurablePostgres()
            self.postgres = self._ends.enter_context(server)
            self._proxy = _Proxy()
            self._ends.callback(self._proxy.close)
            self.hosts = [_ProxyHost(number, self._proxy, self.postgres) for number in range(1, size + 1)]
        except BaseException:
            self._ends.close()
            raise
        self.left_out = f"no network namespaces ({reason}): connections go through proxies"
        if self.restartable is None:
            self.left_out += f"; {DSN_VARIABLE} is set: that server is not restarted"

    def cut(self, sender: int, receiver: int) -> None:
        self._proxy.call("cut", sender, receiver)

    def heal(self, sender: int, receiver: int) -> None:
        self._proxy.call("heal", sender, receiver)

    def database_entered(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        self._ends.close()
