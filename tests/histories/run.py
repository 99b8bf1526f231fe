"""One run: a load on a site, faults, repair, and the verdict at the end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.histories.checker import check, compiled
from tests.histories.client import Client
from tests.histories.deck import Deck
from tests.histories.excuses import unexcused
from tests.histories.history import History, Operation, lost_writes
from tests.histories.load import Load, read, read_all, record_initial
from tests.histories.nemesis import Nemesis
from tests.histories.network import make_network
from tests.histories.site import Site
from tests.histories.supervisor import Share, Supervisor

KEYS = 12
#: Seconds of quiet at the end, all faults repaired.
QUIET_AT_END = 6.0
#: The least share of hits while all was well: with a smaller one the run has shown nothing about the cache.
LEAST_SHARE = 0.25
#: The number of the client that reads at the end.
AT_END = 0


@dataclass
class Result:
    """The result of a run, in which nothing is wrong if there are no violations."""

    violations: list[str] = field(default_factory=list)
    rows: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        width = max(map(len, self.rows), default=0)
        lines = [f"{name:<{width}}  {value}" for name, value in self.rows.items()]
        lines += [f"VIOLATION: {violation}" for violation in self.violations]
        return "\n".join(lines)


@asynccontextmanager
async def made_site(size: int, keys: int, folder: Path, say: Callable[[str], None]) -> AsyncIterator[Site]:
    """Give a running site of that many nodes and items, whose logs are left in `folder`."""
    network = await asyncio.to_thread(make_network, size)
    try:
        if network.left_out:
            say(f"left out: {network.left_out}")
        site = Site(network, keys, folder)
        await asyncio.to_thread(site.__enter__)
        try:
            yield site
            faults = await asyncio.to_thread(site.judged)
            assert not faults, "\n".join(faults)
        finally:
            await asyncio.to_thread(site.close)
    finally:
        await asyncio.to_thread(network.close)


async def run(seconds: float, size: int, seed: int, folder: Path, say: Callable[[str], None]) -> Result:
    """Run load and faults for that many seconds, at least one fault of each kind; all files are left in `folder`."""
    say(f"seed {seed}")
    checker = compiled(folder)
    async with made_site(size, KEYS, folder, say) as site:
        with History(folder / "history.jsonl") as history:
            record_initial(history, site.keys)
            nemesis = Nemesis(site, Deck(seed, size, site.network.restartable is not None), say)
            supervisor = Supervisor(site.nodes, nemesis)
            watching = asyncio.create_task(supervisor.run())
            result = Result()
            try:
                async with Load(site.nodes, site.keys, history, seed) as load:
                    await nemesis.run(seconds)
                    await _wait("all serving again", site.wait_whole, result, say)
                    await asyncio.sleep(QUIET_AT_END)
                    await load.stop()
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
            await _wait("nothing in doubt, equal versions", site.wait_settled, result, say)
            await _look_at_end(site, history, result)
            result.violations += await asyncio.to_thread(site.judged)
            result.rows["statements judged"] = str(site.judge.judged)
    _judge(result, history, nemesis, supervisor, checker)
    (folder / "verdict.txt").write_text(f"{result}\n")
    return result


async def _wait(what: str, condition: Callable[[], None], result: Result, say: Callable[[str], None]) -> None:
    """Wait for a condition of the site, and record how long that took, or that it was in vain."""
    begin = time.monotonic()
    try:
        await asyncio.to_thread(condition)
    except TimeoutError as error:
        result.violations.append(f"never {what}: {error}")
    else:
        result.rows[what] = spent = f"after {time.monotonic() - begin:.2f} s"
        say(f"{what} {spent}")


async def _look_at_end(site: Site, history: History, result: Result) -> None:
    """Read everything at every node, twice; the second time all of it must come from the cache."""
    share = Share()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(node)) for node in site.nodes]
        for _ in range(2):
            share = Share()
            before = [await asyncio.to_thread(node.http.stats) for node in site.nodes]
            for node, client in zip(site.nodes, clients, strict=True):
                for operation in await read_all(node, client, AT_END, site.keys):
                    history.add(operation)
                for key in site.keys:
                    history.add(await read(node, client, AT_END, key))
            for node, earlier in zip(site.nodes, before, strict=True):
                share.add(earlier, await asyncio.to_thread(node.http.stats))
    result.rows["hits at the end"] = str(share)
    if share.hits < share.gets:
        result.violations.append(f"not all that was read before came from the cache at the end: {share}")
    final = await asyncio.to_thread(site.titles_in_database)
    result.violations += lost_writes(history.operations, final)
    history.flush()


def _judge(result: Result, history: History, nemesis: Nemesis, supervisor: Supervisor, checker: Path) -> None:
    operations = history.operations
    writes = [operation for operation in operations if operation.kind == "write" and operation.client]
    verdict = check(checker, history.path)
    errors = unexcused(operations, nemesis.windows)
    slowest = max(writes, key=lambda write: write.seconds)
    result.rows |= {
        "operations": f"{len(operations)}, of which {len(writes)} writes",
        "writes": ", ".join(f"{count} {what}" for what, count in _outcomes(writes)),
        "faults": f"{len(nemesis.windows)}",
        "closed pools": f"{supervisor.started_again} processes were started again, whose pool Guillotina left closed",
        "hits while calm": str(supervisor.calm),
        "hits in all": str(supervisor.all),
        "longest write": f"{slowest.seconds:.2f} s, at {slowest.node}",
        "errors": f"{len(history.errors)}, of which {len(errors)} have no excuse",
        "linearizable": verdict.text.strip().splitlines()[-1],
    }
    if not verdict.linearizable:
        result.violations.append(verdict.text)
    if supervisor.calm.hits < LEAST_SHARE * supervisor.calm.gets or not supervisor.calm.gets:
        result.violations.append(f"too few hits while all was well: {supervisor.calm}")
    result.violations += [_described(error, history) for error in errors]


def _outcomes(writes: list[Operation]) -> list[tuple[str, int]]:
    return sorted(Counter(write.outcome.value for write in writes).items())


def _described(operation: Operation, history: History) -> str:
    begin, end = ((at - history.begin) / 1e9 for at in (operation.begin, operation.end))
    return f"{operation.kind} of {operation.key} at {operation.node}, {begin:.2f} to {end:.2f} s: {operation.error}"
