"""Readers and writers of a site; every operation goes into a history."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress

from tests.histories.client import Answer, Client
from tests.histories.history import History, Operation, Outcome
from tests.histories.site import FOLDER, SiteNode, initial

#: Clients per node.
READERS, IMPATIENT, WRITERS = 1, 2, 1
#: Mean seconds between two operations of one client: many processes share few processors.
READ_PAUSE, WRITE_PAUSE, ERROR_PAUSE = 0.03, 0.15, 0.2
#: Seconds after which an impatient reader gives up.
PATIENCE = 1.0
#: The share of a patient reader's reads that read all items at once.
LISTINGS = 0.1


class Load:
    """Some readers and writers at each node, until `stop`. Every client is bound to a node.

    A client waits for its node as long as that does not answer, so the load of the other nodes stays as it was.
    An impatient one goes on to the next item: a node that is cut off may have it in its cache, and must not serve it.
    """

    def __init__(
        self, nodes: Sequence[SiteNode], keys: Sequence[str], history: History, seed: int, shared: bool = True
    ) -> None:
        """Each item is written by all writers or, unless `shared`, by one."""
        self._nodes, self._keys, self._history, self._seed = nodes, list(keys), history, seed
        self._shared = shared
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._clients = AsyncExitStack()

    async def __aenter__(self) -> Load:
        number = 0
        for node in self._nodes:
            client = await self._clients.enter_async_context(Client(node))
            for work in [self._read] * READERS + [self._read_impatiently] * IMPATIENT + [self._write] * WRITERS:
                number += 1
                self._tasks.append(asyncio.create_task(work(node, client, number)))
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._clients.aclose()

    async def stop(self) -> None:
        """Begin no more operations and wait for those under way. Raises what a client has raised."""
        self._stopped.set()
        await asyncio.gather(*self._tasks)

    async def _read(self, node: SiteNode, client: Client, number: int) -> None:
        choice = random.Random(f"{self._seed}/{number}")
        while not self._stopped.is_set():
            if choice.random() < LISTINGS:
                operations = await read_all(node, client, number, self._keys)
            else:
                operations = [await read(node, client, number, choice.choice(self._keys))]
            await self._record(operations, READ_PAUSE, choice)

    async def _read_impatiently(self, node: SiteNode, client: Client, number: int) -> None:
        choice = random.Random(f"{self._seed}/{number}")
        while not self._stopped.is_set():
            # A reader that gives up has seen nothing, not even an error.
            with suppress(asyncio.TimeoutError):
                operation = await asyncio.wait_for(read(node, client, number, choice.choice(self._keys)), PATIENCE)
                await self._record([operation], READ_PAUSE, choice)

    async def _write(self, node: SiteNode, client: Client, number: int) -> None:
        choice, count = random.Random(f"{self._seed}/{number}"), 0
        keys = self._keys if self._shared else self._keys[node.number - 1 :: len(self._nodes)]
        while not self._stopped.is_set():
            count += 1
            # No value is written twice, so that a value identifies its write.
            key, value = choice.choice(keys), f"{number}.{count}"
            answer = await client.request("PATCH", f"{FOLDER}/{key}", {"title": value})
            await self._record([_operation("write", key, value, node, number, answer)], WRITE_PAUSE, choice)

    async def _record(self, operations: Iterable[Operation], pause: float, choice: random.Random) -> None:
        for operation in operations:
            self._history.add(operation)
            if operation.error:
                pause = ERROR_PAUSE
        await asyncio.sleep(choice.uniform(0, 2 * pause))


async def read(node: SiteNode, client: Client, number: int, key: str) -> Operation:
    """Read one item. A missing item is the value None, and no error."""
    answer = await client.request("GET", f"{FOLDER}/{key}")
    if answer.status == 404:
        answer = answer._replace(outcome=Outcome.OK, error="")
    # A node may end after the head of an answer and before its body.
    value = answer.content["title"] if answer.status == 200 and answer.outcome is Outcome.OK else None
    return _operation("read", key, value, node, number, answer)


async def read_all(node: SiteNode, client: Client, number: int, keys: Sequence[str]) -> list[Operation]:
    """Read all items in one listing, which is a read of each item at some instant of the listing."""
    answer = await client.request("GET", f"{FOLDER}/@items?include=title&page_size={2 * len(keys)}")
    if answer.outcome is not Outcome.OK:
        return [_operation("read", "", None, node, number, answer)]
    titles = {item["@name"]: item["title"] for item in answer.content["items"]}
    return [_operation("read", key, titles.get(key), node, number, answer) for key in keys]


def _operation(kind: str, key: str, value: str | None, node: SiteNode, number: int, answer: Answer) -> Operation:
    return Operation(kind, key, value, node.name, number, answer.begin, answer.end, answer.outcome, answer.error)


def record_initial(history: History, keys: Iterable[str]) -> None:
    """Record that the items were created, before anything else."""
    for key in keys:
        begin = history.begin
        history.add(Operation("write", key, initial(key), "the setup", 0, begin - 1, begin, Outcome.OK))
