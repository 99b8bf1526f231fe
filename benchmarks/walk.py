"""Does one walk over everything, such as a re-index or an export, empty the cache?

A process with `size` reads a hot set that fills half of it, then ten times `size` of other objects once each, by
listing folders, then the hot set again; beside contrib in memory, an LRU, with the same bytes and the same objects.
Then the keys that Guillotina reads while clients navigate and list, with a re-index in between, are recorded in a node
(`trace.csv`: number of the key, bytes of its entry) and replayed with policies of several sizes.
`details`: the shares of hits before and after the walk; the length of the trace, and for each policy the shares of hits
by the cache's size, as a fraction of everything that was read.
"""

from __future__ import annotations

import argparse
import random
from itertools import accumulate
from typing import Any

from guillotina.utils import navigate_to

from benchmarks.lib import agent, command, content, load, pictures, sites, trace
from benchmarks.lib.pairs import Spread
from benchmarks.lib.policies import POLICIES, best_share, hit_share
from benchmarks.lib.report import RESULTS, Answer, Finding
from harness.client import CONTAINER
from harness.postgres_server import PostgresServer

#: Bytes that an object of a kilobyte takes in our store in all.
ENTRY = 1400
#: The share of the hot set in the part of `size` for owned values: that of half of 256 MB. A smaller `size` has a
#: relatively larger table of versions.
SHARE_OF_HALF = 128 / ((256 - 8) * 7 / 8)
#: Sizes of the simulated caches, as fractions of everything that the trace reads.
PARTS = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7]
FOLDERS, ITEMS = 20, 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=8, help="MB of the process")
    parser.add_argument("--times", type=int, default=10, help="how often the walk fills that size")
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="for which clients read, before the re-index and after"
    )


def answer(options: argparse.Namespace, postgres: PostgresServer) -> Answer:
    result = Answer()
    _walk(options, postgres, result)
    _policies(options, postgres, result)
    return result


def _walk(options: argparse.Namespace, postgres: PostgresServer, result: Answer) -> None:
    size = options.size * 10**6
    own = (size - min(8 * 2**20, size // 4)) * 7 // 8
    hot, others = int(own * SHARE_OF_HALF) // ENTRY, options.times * size // ENTRY
    folders = {f"others{number}": min(5000, others - first) for number, first in enumerate(range(0, others, 5000))}
    planted = content.Content(postgres, {"hot": hot, **folders})
    shares = {}
    for name, site in (
        ("ours", sites.groupcache(planted.copy(), 1, size=size)),
        ("contrib in memory", sites.contrib(planted.copy(), 1, memory_cache_size=size)),
    ):
        with site:
            oids = sites.run(site[0], content.oids, folder="hot")
            before = [sites.run(site[0], read, oids=oids) for _ in range(4)][-1]
            for folder in folders:
                sites.run(site[0], walk, folder=folder)
            shares[name] = (before, sites.run(site[0], read, oids=oids))
    kept = {name: after / before for name, (before, after) in shares.items()}
    result.details["walk"] = shares
    result.findings.append(
        Finding(
            f"hot set's share of hits after a walk of {options.times} × size, of that before",
            Spread(*[kept["ours"]] * 3),
            0.9,
            at_least=True,
            ours=shares["ours"][1] * 100,
            theirs=shares["contrib in memory"][1] * 100,
            sides_unit="%",
        )
    )


def _policies(options: argparse.Namespace, postgres: PostgresServer, result: Answer) -> None:
    planted = content.Content(postgres, {f"folder{number}": ITEMS for number in range(FOLDERS)})
    with sites.groupcache(planted.copy(), 1) as site:
        sites.run(site[0], trace.record)
        for seed in (1, 2):
            paths = _paths(seed)
            done = load.generate([site[0].port], paths, paths[:10], 0, options.seconds, connections=4)
            assert not done.failed
            if seed == 1:
                for number in range(FOLDERS):
                    sites.run(site[0], walk, folder=f"folder{number}")
        reads = [(key, size) for key, size in sites.run(site[0], trace.recorded)]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "trace.csv").write_text("".join(f"{key},{size}\n" for key, size in reads))
    in_all = sum(dict(reads).values())
    curves = {
        name: [hit_share(policy(int(part * in_all)), reads) for part in PARTS] for name, policy in POLICIES.items()
    }
    curves["the best possible"] = [best_share(reads, int(part * in_all)) for part in PARTS]
    result.details["trace"] = {"reads": len(reads), "keys": len(dict(reads)), "bytes": in_all}
    result.details["parts"], result.details["shares"] = PARTS, curves
    with pictures.picture("walk") as axes:
        title = "hits, a re-index among them"
        pictures.lines(axes, PARTS, curves, title, "size of the cache, fraction of all that is read")


def _paths(seed: int) -> list[str]:
    """Return what clients read: two items, some far more often than others, for each page of a listing."""
    chance = random.Random(seed)
    folders = list(accumulate(1 / rank for rank in range(1, FOLDERS + 1)))
    items = list(accumulate(1 / rank for rank in range(1, ITEMS + 1)))
    paths = []
    for _ in range(3000):
        folder = f"{CONTAINER}/folder{chance.choices(range(FOLDERS), cum_weights=folders)[0]}"
        if chance.random() < 1 / 3:
            paths.append(f"{folder}/@items?page_size=20&page={chance.randrange(3) + 1}")
        else:
            paths.append(f"{folder}/{chance.choices(range(ITEMS), cum_weights=items)[0]}")
    return paths


# --- inside of a node


async def read(oids: list[str]) -> float:
    """Read each object once, and return the share of hits."""
    hits = 0
    for at in range(0, len(oids), 100):
        async with agent.read_only() as transaction:
            for oid in oids[at : at + 100]:
                row = await transaction._get(oid)
                assert row["zoid"] == oid
            hits += transaction._cache._hits
    return hits / len(oids)


async def walk(folder: str) -> None:
    """Read every object of a folder once."""
    async with agent.read_only() as transaction:
        root: Any = await agent.transaction_manager().get_root(txn=transaction)
        found = await navigate_to(root, f"{CONTAINER.rpartition('/')[2]}/{folder}")
        async for child in found.async_values():
            assert child.title


if __name__ == "__main__":
    command.main(__name__)
