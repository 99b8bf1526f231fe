"""Fixtures of several unit tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from guillotina_groupcache.database import triggers
from guillotina_groupcache.native import Node
from tests.unit.life_app import App, running
from tests.unit.life_database import connected
from tests.unit.life_node import opened
from tests.unit.life_triggers import MARK, TABLE, make, read


@pytest.fixture
async def outsider(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with triggers, whose first notes were read."""
    async with connected(database, application_name="psql") as connection:
        await make(connection)
        await triggers.install(connection, "public", TABLE, MARK)
        await read(connection)
        yield connection


@pytest.fixture
async def app(database: str) -> AsyncIterator[App]:
    """Guillotina with the cache, in a database of its own."""
    async with running(database) as app:
        yield app


@pytest.fixture
def node() -> Iterator[Node]:
    """A node of the library without Guillotina."""
    with opened() as node:
        yield node
