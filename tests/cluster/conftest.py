"""Fixtures: a cluster of three real processes for the tests of one module, and single nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.cluster import Cluster
from harness.node import APPLICATIONS, Node, database_settings
from harness.postgres_server import PostgresServer
from tests.oracle_fixtures import _judged, oracle  # noqa: F401


@contextmanager
def running_cluster(
    postgres: PostgresServer,
    addons: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    more_databases: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> Iterator[Cluster]:
    """Three nodes over an empty database, with the add-on for the tests, more `addons` and with `overrides`.

    `settings` are added to those of their database, and `more_databases` are beside it.
    """
    overrides["applications"] = [*APPLICATIONS, "tests.cluster.addon", *addons]
    with postgres.temporary_database() as dsn:
        overrides["databases"] = {"db": database_settings(dsn, **(settings or {})), **(more_databases or {})}
        with Cluster(dsn, overrides=overrides) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    """The three nodes of a module. A test leaves them all running and serving."""
    with running_cluster(postgres) as cluster:
        yield cluster


@pytest.fixture
def dsn(database: str) -> str:
    """The URL of the database that the nodes of a test share."""
    return database


@pytest.fixture
def far(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a second database."""
    with postgres.temporary_database() as dsn:
        yield dsn


@pytest.fixture
def node(dsn: str, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes that are not started, with the keys of a `groupcache` section; they end with the test."""
    nodes: list[Node] = []

    def make(overrides: Mapping[str, Any] | None = None, environ: Any = None, server: Any = (), **section: Any) -> Node:
        nodes.append(Node(f"node{len(nodes)}", dsn, tmp_path, section or None, overrides, environ, server))
        return nodes[-1]

    yield make
    for one in nodes:
        one.kill()


@pytest.fixture
def session(tmp_path: Path) -> dict[str, str]:
    """The environment of a user's session with a folder of its own for sockets."""
    tmp_path.chmod(0o700)
    return {"XDG_RUNTIME_DIR": str(tmp_path)}
