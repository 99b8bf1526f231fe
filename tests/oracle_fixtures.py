"""Fixtures: each test is judged by what its processes have written (`tests.oracle_judge`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.node import Node
from harness.postgres import PostgresServer
from harness.postgres_embedded import EmbeddedPostgres
from tests.oracle_judge import APPLICATION, Judge


class Watch:
    """What the judge finds, also when a database is about to go: for the test that is judged next."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._faults: list[str] = []

    def look(self) -> None:
        self._faults += self.judge.judge_all()

    def take(self) -> list[str]:
        """All that is wrong and was not told yet."""
        self.look()
        faults, self._faults = self._faults, []
        return faults


#: Where a run's configuration keeps it.
WATCH = pytest.StashKey[Watch]()


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Watch]:
    """From the first test that has it on every node with the add-on is watched."""
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
        self: Node, name: str, dsn: str, folder: Any, groupcache: Any = None, overrides: Any = None, environ: Any = None
    ) -> None:
        overrides = dict(overrides or {})
        applications = overrides.get("applications", ["guillotina", "guillotina_groupcache"])
        if "guillotina_groupcache" in applications:
            overrides["applications"] = [*applications, APPLICATION]
        initialize(self, name, dsn, folder, groupcache, overrides, environ)

    return watched


def _looked(method: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    def looked(self: Any, *arguments: Any) -> Any:
        watch.look()
        return method(self, *arguments)

    return looked
