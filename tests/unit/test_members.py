"""The count of the members table's rows, on a real database: a row that somebody deletes is noticed (R3, R7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from guillotina_groupcache.database.views import CLEAN_EVERY
from guillotina_groupcache.interfaces import LibraryError
from tests.unit import life_members


class Process(life_members.Process):
    """A process that writes rows of any incarnation, and sees how many are missing."""

    def __init__(self, dsn: str, **settings: str) -> None:
        super().__init__(0, {"db": life_members.storage_of(dsn, **settings)})

    async def post(self, who: int) -> None:
        """Write a row as joining."""
        assert await self.ask(op="post", incarnation=who) == {}

    async def missing(self) -> int:
        """How many rows a view lacks."""
        return int((await self.view())["missing"])


@asynccontextmanager
async def process(dsn: str, new: bool = True, **settings: str) -> AsyncIterator[Process]:
    """A process that has begun."""
    process = Process(dsn, **settings)
    await process.members.create("db", new)
    process.members.start()
    try:
        yield process
    finally:
        await process.members.stop()


async def execute(dsn: str, statement: str) -> None:
    """Execute a statement over a connection of the test's own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_what_writes_and_removes_rows_counts_them(database: str) -> None:
    async with process(database) as one:
        assert await one.missing() == 0, "of a database that is new"
        for who in (1, 1, 2, 3):
            await one.post(who)
            assert await one.missing() == 0
        for who in (2, 2):
            await one.ask(op="remove", incarnation=who)
            assert await one.missing() == 0
        await execute(
            database, "UPDATE groupcache_members SET state = 'out', changed = '-infinity', seen = '-infinity'"
        )
        one.views._cleaned -= CLEAN_EVERY
        view = await one.view()
        assert (view["rows"], view["missing"]) == ([], 0), "those that have been out for long are removed"


async def test_only_what_was_waited_for_is_written_off(database: str) -> None:
    async with process(database) as one:
        for who in (1, 2, 3):
            await one.post(who)
        await execute(database, "DELETE FROM groupcache_members WHERE incarnation = 1")
        first = await one.view()
        assert first["missing"] == 1
        await execute(database, "DELETE FROM groupcache_members WHERE incarnation = 2")
        await one.ask(op="write_off", missing=1, counting=first["counting"])
        second = await one.view()
        assert second["missing"] == 1, "the one that was deleted meanwhile"
        assert second["counting"] != first["counting"]
        await one.ask(op="write_off", missing=1, counting=first["counting"])
        assert await one.view() == second, "written off by two at once"
        await one.ask(op="write_off", missing=1, counting=second["counting"])
        assert await one.missing() == 0
        await one.post(1)
        assert await one.missing() == 0


async def test_queries_are_answered_after_one_whose_answer_was_not_taken(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a panic in the library: without further queries a process would never serve again."""
    async with process(database) as one:
        take = one.members._answer

        def refuse(number: int, answer: dict[str, Any]) -> None:
            take(number, answer)
            raise LibraryError("panic: an index\n\ngoroutine 17 [running]:")

        one.members._answer = refuse
        for _ in range(5):
            await asyncio.wait_for(one.ask(op="take_view", asked=0), life_members.TIMEOUT)
        one.members._answer = take
        assert await asyncio.wait_for(one.missing(), 5.0) == 0
    (line,) = [record.getMessage() for record in caplog.records if "did not take" in record.getMessage()]
    assert "an index" in line and line.isprintable()


async def test_a_row_that_nobody_has_counted_is_known_too(database: str) -> None:
    async with process(database) as one:
        await execute(
            database, "INSERT INTO groupcache_members (incarnation, address, host, state) VALUES (1, '', '', 'in')"
        )
        view = await one.view()
        assert view["missing"] == -1
        await one.ask(op="write_off", missing=-1, counting=view["counting"])
        await execute(database, "DELETE FROM groupcache_members")
        assert await one.missing() == 1


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("DELETE FROM groupcache_members", 2),
        ("TRUNCATE groupcache_members", 2),
        ("DROP TABLE groupcache_members", 2),
        ("DELETE FROM groupcache_cluster", 1),
        ("DROP TABLE groupcache_cluster", 1),
        ("DROP TABLE groupcache_members, groupcache_cluster", 1),
    ],
)
async def test_what_is_gone_is_missing(database: str, statement: str, missing: int) -> None:
    """A process that runs notices it, and one that begins then."""
    for begins in (False, True):
        async with process(database) as one:
            for who in (1, 2):
                await one.post(who)
            before = await one.view()
            assert before["missing"] == 0
            await execute(database, statement)
            if begins:
                async with process(database, new=False) as other:
                    view = await other.view()
            else:
                view = await one.view()
            assert view["missing"] == missing
            await one.ask(op="write_off", missing=missing, counting=view["counting"])
            assert await one.missing() == 0
            assert (await one.view())["counting"] != before["counting"]


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
async def test_many_at_once_are_counted(database: str, isolation: str) -> None:
    async def lives(first: int) -> None:
        async with process(database, default_transaction_isolation=isolation) as one:
            for who in range(first, first + 20):
                await one.post(who)
                await one.missing()
                if who % 2:
                    assert await one.ask(op="remove", incarnation=who) == {}

    await asyncio.gather(*(lives(100 * i) for i in range(1, 6)))
    async with process(database) as last:
        view = await last.view()
        assert (len(view["rows"]), view["missing"]) == (50, 0)


async def test_many_that_make_the_tables_at_once_do(database: str) -> None:
    many = [Process(database).members for _ in range(8)]
    try:
        for _ in range(40):
            for each in many:
                await each._databases.get("db").connection.get()
            await asyncio.gather(*(each.create("db", True) for each in many))
            await execute(database, "DROP TABLE groupcache_members, groupcache_cluster")
    finally:
        for each in many:
            await each.stop()
