"""A partition comes to rest: of three nodes one is cut off from the others, but not from the database."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.local import wait_for
from tests.histories.checker import check
from tests.histories.excuses import unexcused
from tests.histories.history import History, Outcome
from tests.histories.load import Load, record_initial
from tests.histories.network import VARIABLE
from tests.histories.run import made_site
from tests.histories.site import FOLDER, Site, SiteNode

#: `make soak` cuts for a minute.
SECONDS = float(os.environ.get("PARTITION_SECONDS", "10"))
KEYS = 12
#: Seconds. A commit waits one lease, 3 s, for members that do not answer; the rest is for a busy machine.
LONGEST_WRITE = 12.0

Say = Callable[[str], None]


@pytest.mark.parametrize("network", ["", "proxies"])
async def test_without_writes_every_node_keeps_its_cache(
    network: str, tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, network)
    async with made_site(3, KEYS, tmp_path, say) as site:
        await asyncio.to_thread(_keep_cache, site, say)


def _keep_cache(site: Site, say: Say) -> None:
    _read_until_warm(site, site.nodes)
    loaded = _loads(site.nodes)
    _cut(site)
    # Keys of the node that is out of reach go to another owner, which may have to load them.
    _read_until_warm(site, site.nodes)
    say(f"loaded when the cut began: {_loads(site.nodes) - loaded} of {3 * KEYS} warm items")
    loaded, hits = _loads(site.nodes), _hits(site.nodes)
    end = time.monotonic() + SECONDS
    # A read of an object from the database would wait now, and be noticed.
    with site.objects_locked():
        while time.monotonic() < end:
            _read_all(site, site.nodes)
            assert _states(site) == ["in", "in", "in"]
            assert all(stats["serving"] for stats in _stats(site.nodes))
    assert _loads(site.nodes) == loaded
    assert _hits(site.nodes) > hits
    _heal(site, say)


async def test_with_writes_on_both_sides_all_stays_right(tmp_path: Path, say: Say, checker: Path) -> None:
    async with made_site(3, KEYS, tmp_path, say) as site:
        with History(tmp_path / "history.jsonl") as history:
            record_initial(history, site.keys)
            # One writer per item, so that no write also waits for another transaction.
            async with Load(site.nodes, site.keys, history, seed=1, shared=False) as load:
                await asyncio.sleep(2.0)
                await asyncio.to_thread(_cut, site)
                await asyncio.sleep(SECONDS)
                await asyncio.to_thread(_heal, site, say)
                await load.stop()
            await asyncio.to_thread(site.wait_settled)
        writes = [operation for operation in history.operations if operation.kind == "write" and operation.client]
    longest = max(write.seconds for write in writes)
    say(f"{len(writes)} writes, the longest took {longest:.2f} s")
    assert unexcused(history.operations, []) == []
    assert all(write.outcome is Outcome.OK for write in writes)
    assert {write.node for write in writes if write.seconds > 1.0} >= {"node3"}, "the cut has delayed no write"
    assert longest < LONGEST_WRITE
    verdict = check(checker, history.path)
    assert verdict.linearizable, verdict.text


# --- steps


def _ways(site: Site) -> list[tuple[int, int]]:
    *most, last = (node.number for node in site.nodes)
    return [way for one in most for way in ((one, last), (last, one))]


def _cut(site: Site) -> None:
    """Cut the last node off from the others."""
    for way in _ways(site):
        site.network.cut(*way)


def _heal(site: Site, say: Say) -> None:
    for way in _ways(site):
        site.network.heal(*way)
    begin = time.monotonic()
    site.wait_whole()
    say(f"all serving {time.monotonic() - begin:.2f} s after the cut was healed")


def _read_all(site: Site, nodes: list[SiteNode]) -> None:
    for node in nodes:
        for key in site.keys:
            assert node.http.get(f"{FOLDER}/{key}").status == 200


def _read_until_warm(site: Site, nodes: list[SiteNode]) -> None:
    """Read everything again and again, until nothing more is loaded."""

    def nothing_loaded() -> bool:
        before = _loads(site.nodes)
        _read_all(site, nodes)
        return _loads(site.nodes) == before

    wait_for(nothing_loaded, "all reads to be hits")


# --- what the nodes and the database say


def _loads(nodes: list[SiteNode]) -> int:
    """How many keys were read from the database, through the cache and past it."""
    return sum(stats["local_loads"] + stats["bypasses"] for stats in _stats(nodes))


def _hits(nodes: list[SiteNode]) -> int:
    return sum(count for stats in _stats(nodes) for source, count in stats["hits"].items() if source != "database")


def _stats(nodes: list[SiteNode]) -> list[dict[str, Any]]:
    return [node.http.stats() for node in nodes]


def _states(site: Site) -> list[str]:
    """The states in the members table."""
    return [state for (state,) in site.query("SELECT state FROM groupcache_members")]
