"""The memory of a process with a full cache stays within what `size` promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SIZE = 64 * 10**6

# Runs in a process of its own, so that no other memory counts: fills the cache three times over with values of
# 1 KB, as pushes of transactions, and its near cache as well; prints by how many bytes the process has grown, and what
# the cache counts.
FILL = f"""
import asyncio, os
from guillotina_groupcache import records
from guillotina_groupcache.near_cache import NearCache, share
from guillotina_groupcache.keys import Kind, encode, prefix
from guillotina_groupcache.constants import EPOCH, HEADER_WORDS, Source
from guillotina_groupcache.native import Found, Node
from guillotina_groupcache.settings.role import Role, node_config
from guillotina_groupcache.settings.model import Settings

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

settings = Settings(size={SIZE})
near_size = share(settings.size)
node = Node(asyncio.run(node_config(settings, Role.ALONE, None, near_size)))
node.database("db", prefix("db"))
near = NearCache(node.table, near_size)
entries = near.entries("db")
version = (node.table[EPOCH] + node.table[HEADER_WORDS]) % 2**64
before = resident()
for n in range(2 * {SIZE} // 8 // 1000):
    row = (f"{{n:032}}", n, 1000, True, None, "f" * 32, f"item-{{n}}", "Item", n.to_bytes(8, "big") * 125)
    data = records.encode(dict(zip(records.FIELDS, row)))
    near.keep((entries, row[0]), records.decode(data), Found(Source.OWN, data, version, HEADER_WORDS, 2**63 - 1, 8))
for first in range(0, 3 * {SIZE} // 1000, 500):
    pushes = [(encode("db", Kind.OBJECT, f"{{n:032}}"), n.to_bytes(8, "big") * 125) for n in range(first, first + 500)]
    event = node.announce("db", [key for key, _ in pushes])
    for _ in node.drain():
        pass
    node.settle(event, pushes)
stats = node.stats()
main, kept = stats["main"], stats["near"]
print(resident() - before, main["bytes"] + kept["bytes"], main["evictions"], kept["items"])
node.close()
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="real memory is read from /proc")
def test_a_full_cache_takes_no_more_memory_than_it_says() -> None:
    done = subprocess.run([sys.executable, "-c", FILL], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    grown, counted, evictions, entries = map(int, done.stdout.split())
    assert evictions > 0 and 0 < entries < 2 * SIZE // 8 // 1000
    assert 0.8 * SIZE < counted <= SIZE
    assert grown <= 1.15 * SIZE
