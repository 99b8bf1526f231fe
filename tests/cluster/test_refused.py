"""What cannot be right does not start (R15): one line with the key, the value and the remedy, and nothing is served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.cluster import Node
from tests.cluster.steps import ends

CONTRIB = "guillotina.contrib.cache"
OURS = "guillotina_groupcache"
OFF = ", or give groupcache: {enabled: false} to have no cache"
BASIC = "cache.strategy: 'basic' is in force in place of 'groupcache', by"


@pytest.fixture
def node(database: str, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes over one database that are not started; they end with the test."""
    nodes: list[Node] = []

    def make(
        dsn: str = database, environ: dict[str, str] | None = None, groupcache: Any = None, **overrides: Any
    ) -> Node:
        nodes.append(Node(f"node{len(nodes)}", dsn, tmp_path, groupcache, overrides, environ))
        return nodes[-1]

    yield make
    for one in nodes:
        one.kill()


# --- another cache strategy


@pytest.mark.parametrize(
    ("overrides", "environ", "message"),
    [
        (
            {"applications": ["guillotina", OURS, CONTRIB]},
            {},
            f"{BASIC} {CONTRIB}, which comes after {OURS} in applications: take {CONTRIB} out of them{OFF}",
        ),
        (
            {"applications": ["guillotina", CONTRIB, OURS]},
            {},
            "load_utilities.guillotina_cache: 'guillotina.contrib.cache.utility.CacheUtility' is another cache, which"
            f" whoever asks for ICacheUtility would find: take {CONTRIB} out of applications{OFF}",
        ),
        ({"cache": {"strategy": "basic"}}, {}, f"{BASIC} the configuration: take cache.strategy out of it{OFF}"),
        ({"cache": {"strategy": "dummy"}}, {}, f"{BASIC.replace('basic', 'dummy')} the configuration: take cache."),
        ({}, {"G_cache__strategy": "basic"}, f"{BASIC} the environment variable G_cache__strategy: unset it{OFF}"),
        ({"cache": None}, {}, "cache: None is not a section: take it out of the configuration"),
        (
            {"load_utilities": {OURS: {"provides": "guillotina.interfaces.ICacheUtility", "factory": "a.b"}}},
            {},
            f"load_utilities.{OURS}: {{'provides': 'guillotina.interfaces.ICacheUtility', 'factory': 'a.b'}} is not",
        ),
    ],
    ids=["contrib after", "contrib before", "basic", "dummy", "environment", "no section", "utility"],
)
def test_another_cache(
    node: Callable[..., Node], overrides: dict[str, Any], environ: dict[str, str], message: str
) -> None:
    assert ends(node(environ=environ, **overrides)).startswith(message)
