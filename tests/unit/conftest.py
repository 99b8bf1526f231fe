"""Fixtures of several unit tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from guillotina_groupcache.database import triggers
from tests.unit.life_database import connected
from tests.unit.life_triggers import MARK, TABLE, make, read


@pytest.fixture
async def outsider(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with triggers, whose first notes were read."""
    async with connected(database, application_name="psql") as connection:
        await make(connection)
        await triggers.install(connection, "public", TABLE, MARK)
        await read(connection)
        yield connection
