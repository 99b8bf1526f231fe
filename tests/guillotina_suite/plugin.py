"""The pytest plugin of Guillotina's suite: services, application, exclusions, and the count.

A run of the whole suite fails when fewer tests passed than `EXPECTED_PASSED`, fewer of them ran with the strategy than
`EXPECTED_CACHED`, or fewer statements were judged than `EXPECTED_JUDGED` (`tests.oracle_judge`): a suite that was
skipped, or that ran without the cache, proves nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_docker_fixtures
from guillotina import app_settings, testing

from guillotina_groupcache.settings.parser import ENABLED_VARIABLE
from tests.guillotina_suite.services import PostgresImage, RedisImage
from tests.oracle_fixtures import WATCH, _judged, oracle  # noqa: F401
from tests.oracle_judge import APPLICATION as ORACLE

APPLICATION = "guillotina_groupcache"
STRATEGY = "groupcache"
OTHER_CACHE = "guillotina.contrib.cache"
EXPECTED_PASSED = 575
EXPECTED_CACHED = 400
EXPECTED_JUDGED = 3000
# Optional parts of Guillotina that store no objects of their own, with requirements of their own (Pillow, a
# memcached server, the MCP SDK, an SMTP client), and the other database.
LEFT_OUT = ("image", "memcached", "mcp", "mailer", "test_cockroach.py")
# Their commands give another id, "guillotina", to the database that the application of the same test serves as "db",
# which is rightly refused (R15). They run with the cache switched off.
ANOTHER_ID = ("test_run_command_with_container", "test_run_vacuum_with_container", "test_run_migration")
# They need a Redis with INFO, and whose connections break when it stops; the one of `services` has neither.
NEED_A_REAL_REDIS = ("test_redis_ops", "test_pubsub_recovers_after_restarting_redis")

pytest_plugins = ["pytest_docker_fixtures", "guillotina.tests.fixtures"]

# Read when Guillotina's fixtures and test modules are imported, which is after this.
os.environ["DATABASE"] = "postgres"
pytest_docker_fixtures.pg_image = PostgresImage()
pytest_docker_fixtures.redis_image = RedisImage()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs the suite without any cache."""
    parser.addoption("--without-cache", action="store_true", help="run without guillotina_groupcache")


def pytest_configure(config: pytest.Config) -> None:
    """Put the application into the settings of every test."""
    config.pluginmanager.register(_Count(config), "groupcache-count")
    if not config.getoption("--without-cache"):
        application = _Application()
        config.pluginmanager.register(application, "groupcache-application")
        testing.configure_with(application.add)


def pytest_ignore_collect(collection_path: Any) -> bool | None:
    """Leave out what `LEFT_OUT` names."""
    return True if collection_path.name in LEFT_OUT else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `NEED_A_REAL_REDIS` names."""
    left_out = [item for item in items if item.name in NEED_A_REAL_REDIS]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def _brings_its_own_cache(item: pytest.Item) -> bool:
    """Return whether a test is about Guillotina's own cache: two strategies cannot be combined."""
    marks = item.iter_markers(name="app_settings")
    return any(OTHER_CACHE in mark.args[0].get("applications", ()) for mark in marks)


class _Application:
    """Adds the application to the settings of the tests that do not bring another cache."""

    def __init__(self) -> None:
        self._wanted = True

    @pytest.hookimpl(tryfirst=True)  # before the fixtures of the test ask for settings
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._wanted = not _brings_its_own_cache(item)
        os.environ[ENABLED_VARIABLE] = str(item.name not in ANOTHER_ID)

    def add(self, settings: dict[str, Any]) -> None:
        if self._wanted:
            settings["applications"] += [APPLICATION, ORACLE]


class _Count:
    """Counts the tests that passed and those that ran with the strategy, and checks both after a whole run."""

    def __init__(self, config: pytest.Config) -> None:
        without = config.getoption("--without-cache")
        self._cached_expected, self._judged_expected = (0, 0) if without else (EXPECTED_CACHED, EXPECTED_JUDGED)
        self._config = config
        self._whole_run = not any(config.getoption(name) for name in ("keyword", "markexpr", "collectonly"))
        self._passed = 0
        self._cached = 0

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        self._cached += app_settings.get("cache", {}).get("strategy") == STRATEGY
        yield

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._passed += report.when == "call" and report.passed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._whole_run and not session.exitstatus and self._too_few():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        judgement = "TOO FEW: " if self._whole_run and self._too_few() else ""
        terminalreporter.write_line(
            f"{judgement}{self._passed} passed ({EXPECTED_PASSED} expected), "
            f"{self._cached} ran with the strategy {STRATEGY} (at least {self._cached_expected} expected), "
            f"{self._judged()} statements were judged (at least {self._judged_expected} expected)"
        )

    def _judged(self) -> int:
        watch = self._config.stash.get(WATCH, None)
        return 0 if watch is None else watch.judge.judged

    def _too_few(self) -> bool:
        return (
            self._passed < EXPECTED_PASSED
            or self._cached < self._cached_expected
            or self._judged() < self._judged_expected
        )
