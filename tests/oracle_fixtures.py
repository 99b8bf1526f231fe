"""Fixtures by which each test is judged on what its processes have written (`tests.oracle_judge`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.node import APPLICATIONS, Node
from harness.postgres_embedded import EmbeddedPostgres
from harness.postgres_server import PostgresServer
from tests.oracle_judge import APPLICATION, Judge


class Watch:
    """The judge's findings, also about a database that is about to be dropped, for the test that is judged next."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._faults: list[str] = []

    def look(self) -> None:
        self._faults += self.judge.judge_all()

    def take(self) -> list[str]:
        """Return all faults since the last call."""
        self.look()
        faults, self._faults = self._faults, []
        return faults


#: The key of the watch in pytest's configuration.
WATCH = pytest.StashKey[Watch]()


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Watch]:
    """Watch every node with the add-on, from the first test on that uses this."""
    watch = pytestconfig.stash[WATCH] = Watch(Judge(tmp_path_factory.mktemp("oracle") / "announced"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, *next(iter(watch.judge.environ.items())))
        patch.setattr(Node, "__init__", _watched(Node.__init__))
        for owner, name in (PostgresServer, "drop_database"), (EmbeddedPostgres, "close"):
            patch.setattr(owner, name, _looked(getattr(owner, name), watch))
        yield watch
    faults = watch.take()
    assert not faults, "\n".join(faults)


@pytest.fixture(autouse=True)
def _judged(oracle: Watch) -> Iterator[None]:
    yield
    faults = oracle.take()
    assert not faults, "\n".join(faults)


def _watched(initialize: Callable[..., None]) -> Callable[..., None]:
    def watched(
        self: Node, name: str, dsn: str, folder: Any, groupcache: Any = None, overrides: Any = None, *more: Any
    ) -> None:
        overrides = dict(overrides or {})
        applications = overrides.get("applications", APPLICATIONS)
        if "guillotina_groupcache" in applications:
            overrides["applications"] = [*applications, APPLICATION]
        initialize(self, name, dsn, folder, groupcache, overrides, *more)

    return watched


def _looked(method: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    def looked(self: Any, *arguments: Any) -> Any:
        watch.look()
        return method(self, *arguments)

    return looked
