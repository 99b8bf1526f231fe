"""R13: what a real server shows after a restart, a failover and a return to an earlier state."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from guillotina_groupcache.losses import Watch
from guillotina_groupcache.members import Members
from tests.postgres_embedded import EmbeddedPostgres

IDENTITY = "1/2"
VOLATILE = "1/2/since"


def test_a_watch_knows_what_it_expects() -> None:
    watch = Watch()
    assert not watch.lost(IDENTITY, 10, IDENTITY)
    assert not watch.lost(IDENTITY, 11, IDENTITY)
    assert watch.lost("1/3", 12, IDENTITY), "another timeline"
    assert watch.lost(IDENTITY, 9, IDENTITY), "put back"


@pytest.mark.parametrize(("identity", "lost"), [(IDENTITY, False), (VOLATILE, True)])
def test_a_crash_loses_only_where_commits_are_not_on_the_disk(identity: str, lost: bool) -> None:
    watch = Watch()
    watch.reconnected = True
    assert not watch.lost(identity, 10, identity), "the first look"
    watch.reconnected = True
    assert watch.lost(identity, 10, identity) is lost


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server that keeps its promises: the tests' own one has fsync off."""
    with EmbeddedPostgres() as server:
        asyncio.run(_execute(server, "ALTER SYSTEM SET fsync = on", "SELECT pg_reload_conf()"))
        yield server


async def _execute(server: EmbeddedPostgres, *statements: str) -> None:
    connection = await asyncpg.connect(server.dsn("postgres"))
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@asynccontextmanager
async def two_members(server: EmbeddedPostgres) -> AsyncIterator[list[Callable[[], Any]]]:
    """Two processes' readings of one table, with a row each that is in."""
    storage: Any = SimpleNamespace(_dsn=server.dsn("postgres"), _connection_options={}, _db_schema="public")
    answers: dict[tuple[int, int], asyncio.Future[Any]] = {}
    loop = asyncio.get_running_loop()
    both = []
    for who in (1, 2):
        members = Members(lambda number, answer, who=who: answers[who, number].set_result(answer))  # type: ignore[misc]
        members.add("db", storage)
        await members.create("db")
        members.start()
        both.append(members)
    number = 0

    async def ask(who: int, **question: Any) -> dict[str, Any]:
        nonlocal number
        number += 1
        answers[who, number] = loop.create_future()
        both[who - 1].put(number, question)
        answer: dict[str, Any] = await answers[who, number]
        return answer

    async def read(who: int) -> dict[int, str]:
        while True:
            answer = await ask(who, op="read")
            if "error" not in answer:
                return {row["incarnation"]: row["state"] for row in answer["rows"]}

    try:
        for who in (1, 2):
            await ask(who, op="post", incarnation=who, address="", host="")
            await ask(who, op="enter", incarnation=who)
            assert await read(who)
        yield [lambda: read(1), lambda: read(2)]
    finally:
        for members in both:
            await members.stop()


ALL_IN = {1: "in", 2: "in"}
ALL_OUT = {1: "out", 2: "out"}


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_plain_restart_keeps_everybody_in(server: EmbeddedPostgres, mode: Any) -> None:
    async with two_members(server) as (read, read_other):
        server.stop(mode)
        server.start()
        assert await read() == ALL_IN
        assert await read_other() == ALL_IN


async def test_a_restart_without_synchronous_commit_puts_everybody_out_once(server: EmbeddedPostgres) -> None:
    await _execute(server, "ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()")
    async with two_members(server) as (read, read_other):
        await _execute(server, "CHECKPOINT")  # or the table itself were lost
        server.stop("immediate")
        server.start()
        assert await read() == ALL_OUT
        await _enter(server, 1)
        assert await read_other() == {1: "in", 2: "out"}, "counted once"
        assert await read() == {1: "in", 2: "out"}


async def test_a_failover_puts_everybody_out_once(server: EmbeddedPostgres) -> None:
    async with two_members(server) as (read, read_other):
        server.stop()
        # What a standby does that is promoted: it ends its recovery on a timeline of its own.
        with (server.data / "postgresql.conf").open("a") as configuration:
            configuration.write("restore_command = 'false'\n")
        signal = server.data / "recovery.signal"
        signal.touch()
        shutil.chown(signal, signal.parent.owner(), signal.parent.group())
        server.start()
        assert await read() == ALL_OUT
        await _enter(server, 1)
        assert await read_other() == {1: "in", 2: "out"}


async def test_an_earlier_state_of_the_server_puts_everybody_out(server: EmbeddedPostgres) -> None:
    async with two_members(server) as (read, read_other):
        server.stop()
        shutil.copytree(server.data, server.data.with_name("earlier"), copy_function=shutil.copy2)
        server.start()
        await _execute(server, "CREATE TABLE written AS SELECT generate_series(1, 100000)")
        assert await read() == await read_other() == ALL_IN
        server.stop()
        shutil.rmtree(server.data)
        server.data.with_name("earlier").rename(server.data)
        _give_to(server.data, server.data.parent)
        server.start()
        assert await read() == ALL_OUT


def _give_to(tree: Any, like: Any) -> None:
    for path in (tree, *tree.rglob("*")):
        shutil.chown(path, like.owner(), like.group())


async def _enter(server: EmbeddedPostgres, who: int) -> None:
    await _execute(server, f"UPDATE groupcache_members SET state = 'in' WHERE incarnation = {who}")
