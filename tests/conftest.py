"""Fixtures that the tests of several folders share."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest

from harness.postgres import running_postgres
from harness.postgres_server import PostgresServer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the slow tests too: `make soak`")
    parser.addoption("--eager", action="store_true", help="tasks begin at once, as with asyncio.eager_task_factory")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--eager"):
        if sys.version_info < (3, 12):
            raise pytest.UsageError("--eager: asyncio.eager_task_factory comes with Python 3.12")
        asyncio.set_event_loop_policy(_EagerPolicy())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--soak"):
        left_out = [item for item in items if item.get_closest_marker("soak")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


class _EagerPolicy(asyncio.DefaultEventLoopPolicy):
    """Every event loop of this process begins its tasks at once."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop = super().new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The PostgreSQL server of this run."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database for one test."""
    with postgres.temporary_database() as dsn:
        yield dsn
