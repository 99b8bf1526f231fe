"""Watches the nodes of a run: counts the hits of their caches, and restarts a process that no longer works."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.client import NodeError
from tests.histories.faults import PoolLeftClosed
from tests.histories.nemesis import Nemesis
from tests.histories.site import SiteNode

EVERY = 0.5
#: Seconds for which a process must answer only that its pool is closed.
PATIENCE = 3.0
_LOADED = ("database", "deduplicated")


@dataclass
class Share:
    """Keys that were read, and how many of them some process had in its cache."""

    gets: int = 0
    hits: int = 0
    bypasses: int = 0

    def add(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Add what happened between two statistics of one process."""
        self.gets += after["gets"] - before["gets"]
        self.hits += sum(after["hits"][source] - before["hits"][source] for source in after["hits"].keys() - _LOADED)
        self.bypasses += after["bypasses"] - before["bypasses"]

    def __str__(self) -> str:
        return f"{self.hits / max(1, self.gets):.1%} of {self.gets} keys (past the cache: {self.bypasses})"


class Supervisor:
    """Reads every node's statistics again and again, while it answers."""

    def __init__(self, nodes: Sequence[SiteNode], nemesis: Nemesis) -> None:
        self.calm, self.all = Share(), Share()
        self.started_again = 0
        self._nodes, self._nemesis = nodes, nemesis

    async def run(self) -> None:
        """Watch until cancelled."""
        await asyncio.gather(*(self._watch(node) for node in self._nodes))

    async def _watch(self, node: SiteNode) -> None:
        before: dict[str, Any] | None = None
        was_calm = False
        closed: int | None = None
        while True:
            await asyncio.sleep(EVERY)
            try:
                after = await asyncio.to_thread(node.http.stats)
            except (OSError, http.client.HTTPException, NodeError) as error:
                before = None
                closed = await self._look_at_pool(node, str(error), closed)
                continue
            # A process that was restarted counts from zero.
            if before is not None and before["incarnation"] == after["incarnation"]:
                self.all.add(before, after)
                if was_calm and self._nemesis.calm:
                    self.calm.add(before, after)
            before, was_calm, closed = after, self._nemesis.calm, None

    async def _look_at_pool(self, node: SiteNode, error: str, closed: int | None) -> int | None:
        """Return since when the node's pool is closed, if it is; a node whose pool stays closed is restarted."""
        if "pool is closed" not in error:
            return None
        now = time.monotonic_ns()
        if closed is None:
            return now
        if now - closed > PATIENCE * 1e9:
            self.started_again += 1
            await self._nemesis.make(PoolLeftClosed(0.0, node.number), since=closed)
            return None
        return closed
