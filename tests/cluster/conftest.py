"""A cluster of three real processes for the tests of one module."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from demo.cluster import Cluster
from tests.postgres import PostgresServer

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(postgres: PostgresServer) -> Iterator[Cluster]:
    """Three nodes with the add-on for the tests. A test leaves them all running."""
    name = f"groupcache_{os.getpid()}_cluster_{next(_numbers)}"
    overrides = {
        "applications": ["guillotina", "guillotina_groupcache", "tests.cluster.addon"],
        # Databases that are made while the nodes run.
        "storages": {"more": {"storage": "postgresql", "type": "postgresql", "dsn": postgres.dsn("")}},
    }
    try:
        with Cluster(postgres.create_database(name), overrides=overrides) as cluster:
            yield cluster
    finally:
        postgres.drop_database(name)
