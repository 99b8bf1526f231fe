"""The services that Guillotina's fixtures start by `pytest_docker_fixtures`, here without Docker.

Each class stands in for an image of that package and has the two methods that the fixtures call.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack

from fakeredis import TcpFakeServer

from harness.postgres import running_postgres

DATABASE = "guillotina"  # Guillotina's fixtures connect to no other


class PostgresImage:
    """The project's PostgreSQL server with the database that the suite wants.

    On a server from the environment the database must not exist: the suite empties it.
    """

    def __init__(self) -> None:
        self._running = ExitStack()

    def run(self) -> tuple[str, int]:
        """Start the server; return its host and port."""
        server = self._running.enter_context(running_postgres())
        server.create_database(DATABASE)
        return server.host, server.port

    def stop(self) -> None:
        """Stop what `run` started."""
        self._running.close()


class RedisImage:
    """A Redis written in Python, in this process: Guillotina's Redis drivers are not under test here."""

    def __init__(self) -> None:
        self._server: TcpFakeServer | None = None
        self._port = 0

    def run(self) -> tuple[str, int]:
        """Start serving; return host and port, which stay the same when it is started again."""
        self._server = TcpFakeServer(("127.0.0.1", self._port))
        # Clients that stay connected would hold up `stop` and the end of the process.
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return "127.0.0.1", self._port

    def stop(self) -> None:
        """Stop listening; what was stored is gone."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
