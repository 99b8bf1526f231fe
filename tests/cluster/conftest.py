"""A cluster of three real processes for the tests of one module."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from harness.cluster import Cluster
from harness.postgres import PostgresServer
from tests.oracle_fixtures import _judged, oracle  # noqa: F401

#: Connections of a node's pool where it has settings of its own, as many as it has without.
POOL_SIZE = 8

_numbers = itertools.count(1)


@contextmanager
def running_cluster(
    postgres: PostgresServer,
    addons: Sequence[str] = (),
    database: Mapping[str, Any] | None = None,
    more_databases: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> Iterator[Cluster]:
    """Three nodes over an empty database, with the add-on for the tests, more `addons` and with `overrides`.

    `database` is added to the settings of their database, and `more_databases` are beside it.
    """
    name = f"groupcache_{os.getpid()}_cluster_{next(_numbers)}"
    overrides["applications"] = ["guillotina", "guillotina_groupcache", "tests.cluster.addon", *addons]
    dsn = postgres.create_database(name)
    if database is not None or more_databases is not None:
        settings = {"storage": "postgresql", "dsn": dsn, "name": "db", "pool_size": POOL_SIZE}
        overrides["databases"] = {"db": {**settings, **(database or {})}, **(more_databases or {})}
    try:
        with Cluster(dsn, overrides=overrides) as cluster:
            yield cluster
    finally:
        postgres.drop_database(name)


@pytest.fixture(scope="module")
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    """The three nodes of a module. A test leaves them all running and in standing."""
    with running_cluster(postgres) as cluster:
        yield cluster
