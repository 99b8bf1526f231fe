"""A near entry is tested in R2's order, whatever happens between two loads of the test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from guillotina_groupcache.near_cache import KEEPS_LOADS_IN_ORDER
from guillotina_groupcache.strategy import GroupcacheStrategy
from tests.unit.life_app import add, running, set_title, title, uncached

#: More loads than one test of a near entry makes.
LOADS = 20


class ChangingTable:
    """A version table whose words change after some loads."""

    def __init__(self, before: Sequence[int], after: Sequence[int], loads: int) -> None:
        self._words, self._after, self._loads = before, after, loads

    def __getitem__(self, word: int) -> int:
        if self._loads == 0:
            self._words = self._after
        self._loads -= 1
        return self._words[word]


@pytest.mark.skipif(not KEEPS_LOADS_IN_ORDER, reason="there is no near cache on this processor")
async def test_a_version_from_before_a_return_is_not_served(database: str) -> None:
    """A process is marked out, misses a commit, and returns while a reader is between two loads."""
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        for _ in range(3):
            assert await title(app, oid) == "c"
        node = app.utility._node
        assert node is not None
        strategy = GroupcacheStrategy(uncached(app))

        def found(table: Any) -> Any:
            strategy._table = table
            return strategy._near_hit(oid)

        serving = list(node.table)
        assert found(serving)["zoid"] == oid
        await set_title(app, oid, "new")
        serving_again = list(node.table)
        node.leave()
        left = list(node.table)
        # As it is after the process was marked out, and before it knows of the commit.
        out = [old if now == then else now for old, then, now in zip(serving, serving_again, left, strict=True)]
        assert out != serving and found(out) is None and found(serving_again) is None
        for loads in range(LOADS):
            assert found(ChangingTable(out, serving_again, loads)) is None, f"changed after {loads} loads"
