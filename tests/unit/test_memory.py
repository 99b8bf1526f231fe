"""The memory of a process with a full cache stays within what `size` promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SIZE = 64 * 10**6

# In a process of its own, so that nothing else's memory counts: fills the cache three times over with values of
# 1 KB, as pushes of transactions, and prints by how many bytes the process has grown, and what the cache counts.
FILL = f"""
import asyncio, os
from guillotina_groupcache.keys import Kind, encode
from guillotina_groupcache.native import Node
from guillotina_groupcache.process import Role, node_config
from guillotina_groupcache.settings import Settings

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

node = Node(asyncio.run(node_config(Settings(size={SIZE}), Role.ALONE, None)))
before = resident()
for first in range(0, 3 * {SIZE} // 1000, 500):
    pushes = [(encode("db", Kind.OBJECT, f"{{n:032}}"), n.to_bytes(8, "big") * 125) for n in range(first, first + 500)]
    event = node.announce("db", [key for key, _ in pushes])
    for _ in node.drain():
        pass
    node.settle(event, pushes)
print(resident() - before, node.stats()["main"]["bytes"], node.stats()["main"]["evictions"])
node.close()
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="real memory is read from /proc")
def test_a_full_cache_takes_no_more_memory_than_it_says() -> None:
    done = subprocess.run([sys.executable, "-c", FILL], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    grown, counted, evictions = map(int, done.stdout.split())
    assert evictions > 0
    assert 0.8 * SIZE < counted <= SIZE
    assert grown <= 1.15 * SIZE
