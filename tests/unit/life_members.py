"""The members table in use without a library."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import asyncpg

from guillotina_groupcache.database.members import Members
from guillotina_groupcache.database.views import Views
from harness.postgres_embedded import EmbeddedPostgres

FIRST, SECOND = "db", "far"
#: Seconds until what is waited for counts as failed.
TIMEOUT = 60.0


async def execute(server: EmbeddedPostgres, *statements: str, database: str = "postgres") -> None:
    """Execute statements, each in a transaction of its own."""
    connection = await asyncpg.connect(server.dsn(database))
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def storage_of(dsn: str, **settings: str) -> Any:
    """What the members table needs of a Guillotina storage, with settings for its connections."""
    options = {"server_settings": settings}
    return SimpleNamespace(
        _dsn=dsn, _connection_options=options, _db_schema="public", objects_table_name="public.objects"
    )


class Process:
    """One process' queries of the members table, each answered before the next one is put."""

    def __init__(self, incarnation: int, storages: Mapping[str, Any]) -> None:
        self.incarnation = incarnation
        self.members = Members(
            lambda number, answer: self._answers.pop(number).set_result(answer), lambda *note: self.notes.append(note)
        )
        #: The notes of outside writes, as they are passed to the library.
        self.notes: list[tuple[Any, ...]] = []
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        for word, (id_, storage) in enumerate(storages.items()):
            self.members.add(id_, storage)
            self.members.serve(id_, word)

    @property
    def views(self) -> Views:
        """What takes the views of the process."""
        assert self.members._queries is not None
        return self.members._queries.views

    async def ask(self, **query: Any) -> dict[str, Any]:
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        self.members.put(self._number, query)
        return await answer

    async def view(self, asked: int = 0) -> dict[str, Any]:
        """Take a view, again where a connection was lost, or the table was made again."""
        deadline = time.monotonic() + TIMEOUT
        while "error" in (answer := await self.ask(op="take_view", asked=asked)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no view in {TIMEOUT:.0f} s: {answer['error']}")
        return answer

    async def until_nothing_is_open(self, database: str) -> None:
        """Wait until no transaction is open: one that makes the triggers may be."""
        deadline = time.monotonic() + TIMEOUT
        while (answer := await self.ask(op="open_transactions", database=database)) != {"open": []}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"open after {TIMEOUT:.0f} s: {answer}")
            await asyncio.sleep(0.05)

    async def states(self) -> dict[int, str]:
        """The states in a view."""
        return {row["incarnation"]: row["state"] for row in (await self.view())["rows"]}

    async def reached(self, asked: int = 0) -> dict[int, int]:
        """The words of the databases that a view has reached, and since which view."""
        return {found["word"]: found["asked"] for found in (await self.view(asked))["reached"]}

    async def is_reached(self, word: int) -> None:
        """Take views until a database was reached."""
        await self.until(lambda reached: word in reached, f"database {word} to be reached")

    async def until(self, condition: Callable[[dict[int, int]], bool], what: str) -> None:
        """Take views until a condition on what is reached holds. Raises `TimeoutError` after `TIMEOUT` seconds."""
        deadline = time.monotonic() + TIMEOUT
        while not condition(await self.reached()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {TIMEOUT:.0f} s in vain for {what}")
            await asyncio.sleep(0.01)


@asynccontextmanager
async def process(incarnation: int, storages: Mapping[str, Any]) -> AsyncIterator[Process]:
    """A process whose row is in. The first storage has the members table."""
    made = Process(incarnation, storages)
    await made.members.create(next(iter(storages)))
    made.members.start()
    try:
        await made.ask(op="post", incarnation=incarnation, address="", host="")
        await made.ask(op="enter", incarnation=incarnation)
        assert (await made.states())[incarnation] == "in"
        yield made
    finally:
        await made.members.stop()


@asynccontextmanager
async def two_members(server: EmbeddedPostgres) -> AsyncIterator[list[Callable[[], Any]]]:
    """Two processes' views of one table, with a row each that is in."""
    storages = {FIRST: storage_of(server.dsn())}
    async with process(1, storages) as one, process(2, storages) as two:
        yield [one.states, two.states]
