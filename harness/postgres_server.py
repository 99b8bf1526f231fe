"""A running PostgreSQL server, and the databases that were created on it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import psycopg2
from psycopg2 import sql

MAX_CONNECTIONS = 200
# Guillotina's own test fixtures know no other user and password.
USER = PASSWORD = "postgres"

_numbers = itertools.count(1)


class PostgresServer:
    """A server on TCP."""

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
