"""The cost of a start: the import, which must load no library, and a fourth process that joins three peers.

Loading is `dlopen` of the library in a process that does nothing else; joining is the time from the node's start in a
real process until that serves from the cache. `details`: milliseconds of both, and of importing the package after
Guillotina.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from benchmarks.lib import command, content, sites
from benchmarks.lib.pairs import Spread, spread
from benchmarks.lib.report import Answer, Finding
from harness.local import ROOT
from harness.postgres_server import PostgresServer

_LOADING = """
import json, time
import guillotina.commands, guillotina.db.storages.pg
begin = time.perf_counter()
import guillotina_groupcache
from guillotina_groupcache import native
import guillotina_groupcache.startup, guillotina_groupcache.strategy, guillotina_groupcache.vacuum
imported = time.perf_counter()
loaded = "libgroupcache" in open("/proc/self/maps").read()
native._load()
done = time.perf_counter()
assert "libgroupcache" in open("/proc/self/maps").read()
print(json.dumps([loaded, (imported - begin) * 1000, (done - imported) * 1000]))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7, help="processes that are started")


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    alone = [_load() for _ in range(options.rounds)]
    planted = content.Content(postgres, {"folder": 1})
    with sites.groupcache(planted.copy(), 4, started=3) as site:
        joining = [_join(site) for _ in range(options.rounds)]
    loading = [row[2] for row in alone]
    both = [load + join for load, join in zip(loading, joining, strict=True)]
    loaded = float(sum(row[0] for row in alone))
    details = {
        "import": spread([row[1] for row in alone]),
        "loading": spread(loading),
        "joining": spread(joining),
    }
    return Answer(
        [
            Finding("libraries that the import loads", Spread(loaded, loaded, loaded), 0, unit=""),
            Finding("loading, and joining 3 peers", spread(both), 300, unit="ms"),
        ],
        details,
    )


def _load() -> Any:
    done = subprocess.run([sys.executable, "-c", _LOADING], stdout=subprocess.PIPE, cwd=ROOT, check=True)
    return json.loads(done.stdout)


def _join(site: sites.Site) -> float:
    """Start the fourth process, return the milliseconds until it serves from the cache, and end it."""
    node = site.nodes[-1]
    site.start(node)
    stats = node.http.stats()
    node.stop()
    return float(stats["uptime"] - stats["since"]) * 1000


if __name__ == "__main__":
    command.main(__name__)
