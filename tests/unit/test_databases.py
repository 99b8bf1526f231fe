"""Databases beside that of the members table: each is looked at by itself, and the cluster knows its identity."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from guillotina_groupcache.database import databases
from harness.postgres_embedded import EmbeddedPostgres
from harness.postgres_losses import begin_in_recovery, fail_over, put_back
from tests.unit.life_database import connected
from tests.unit.life_members import FIRST, SECOND, TIMEOUT, execute, process, storage_of

ALL_IN = {1: "in", 2: "in"}
ALL_OUT = {1: "out", 2: "out"}


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """The server with the members table."""
    with EmbeddedPostgres() as server:
        yield server


@pytest.fixture
def far() -> Iterator[EmbeddedPostgres]:
    """A second server, which keeps what it has acknowledged."""
    with EmbeddedPostgres() as server:
        asyncio.run(execute(server, "ALTER SYSTEM SET fsync = on", "SELECT pg_reload_conf()"))
        yield server


@pytest.fixture(autouse=True)
def empty(server: EmbeddedPostgres) -> None:
    asyncio.run(execute(server, "DROP TABLE IF EXISTS groupcache_members, groupcache_cluster"))


@pytest.fixture
def storages(server: EmbeddedPostgres, far: EmbeddedPostgres) -> dict[str, Any]:
    """Two databases on two servers."""
    return {FIRST: storage_of(server.dsn()), SECOND: storage_of(far.dsn())}


@contextmanager
def hanging(server: EmbeddedPostgres) -> Iterator[None]:
    """A server whose processes all stand still, so that connecting to it never ends."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    everybody = [server.pid, *map(int, children)]
    for number in everybody:
        os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        for number in everybody:
            os.kill(number, signal.SIGCONT)


def logged(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("ends", ["hangs", "stopped"])
async def test_a_dead_server_is_not_reached_and_delays_no_view(
    storages: dict[str, Any], far: EmbeddedPostgres, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "guillotina_groupcache")
    async with process(1, storages) as one:
        await one.is_reached(1)
        if ends == "stopped":
            far.stop()
        with hanging(far) if ends == "hangs" else _starting_after(far):
            await one.view()
            if ends == "hangs":
                assert not logged(caplog, "does not answer"), "the view has waited for the look to end"
            await one.until(lambda _: logged(caplog, "the database far does not answer") > 0, "the look to fail")
            for asked in range(1, 20):
                assert await one.reached(asked) == {0: asked}
                assert await one.states() == {1: "in"}
        await one.is_reached(1)
    assert logged(caplog, "the database far does not answer") == logged(caplog, "the database far answers again") == 1
    assert not logged(caplog, "may have lost commits")


@contextmanager
def _starting_after(server: EmbeddedPostgres) -> Iterator[None]:
    yield
    server.start()


async def test_a_look_counts_for_no_view_that_began_later(
    storages: dict[str, Any], far: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "LOOK_TIMEOUT", 60.0)
    async with process(1, storages) as one:
        await one.is_reached(1)
        with hanging(far):
            assert await one.reached(7) == {0: 7}
            assert await one.reached(8) == {0: 8}, "a look that has not ended"
            (look,) = (database._task for database in one.members._databases if database.id == SECOND)
        assert look is not None
        await asyncio.wait_for(look, TIMEOUT)
        with hanging(far):  # so that no later look ends before the view has reported this one
            assert await one.reached(9) == {0: 9, 1: 7}
        await one.is_reached(1)


#: An objects table with what triggers need.
OBJECTS = (
    "CREATE TABLE IF NOT EXISTS objects (zoid TEXT PRIMARY KEY, tid BIGINT, parent_id TEXT, of TEXT, id TEXT,"
    " type TEXT, resource BOOLEAN, state_size BIGINT, json JSONB, state BYTEA)"
)


async def test_queries_about_a_dead_server_hold_nothing_up(
    storages: dict[str, Any], server: EmbeddedPostgres, far: EmbeddedPostgres
) -> None:
    for each in (server, far):
        await execute(each, OBJECTS)
    async with process(1, storages) as one:
        await one.until_nothing_is_open("")
        with hanging(far):
            waiting = [
                asyncio.ensure_future(one.ask(op="open_transactions", database=database)) for database in ("", SECOND)
            ]
            await one.until_nothing_is_open(FIRST)
            assert await one.states() == {1: "in"}
            assert not any(task.done() for task in waiting)
            assert all("error" in answer for answer in await asyncio.gather(*waiting))
        assert "error" in await one.ask(op="open_transactions", database="nowhere")


async def test_a_failover_of_another_server_puts_everybody_out_once(
    storages: dict[str, Any], far: EmbeddedPostgres
) -> None:
    async with process(1, storages) as one, process(2, storages) as two:
        await one.is_reached(1)
        await two.is_reached(1)
        fail_over(far)
        await one.is_reached(1)
        assert await one.states() == ALL_OUT
        await one.ask(op="post", incarnation=1, address="", host="")
        await one.ask(op="enter", incarnation=1)
        await two.is_reached(1)
        assert await two.states() == await one.states() == {1: "in", 2: "out"}


async def test_a_process_that_starts_later_knows_what_the_others_have_cached(
    storages: dict[str, Any], far: EmbeddedPostgres
) -> None:
    """Otherwise it would believe what it sees, and copy from a member that no longer reaches the server."""
    nowhere = {**storages}
    async with process(1, nowhere) as one:
        await one.is_reached(1)
        nowhere[SECOND]._dsn = "postgresql://postgres@127.0.0.1:1/postgres"  # from now on it connects in vain
        fail_over(far)
        async with process(2, {**storages, SECOND: storage_of(far.dsn())}) as two:
            await two.is_reached(1)
            assert await two.states() == await one.states() == ALL_OUT
            assert 1 not in await one.reached()


async def test_another_server_that_was_put_back_puts_everybody_out(
    storages: dict[str, Any], far: EmbeddedPostgres
) -> None:
    async with process(1, storages) as one, process(2, storages) as two:
        with put_back(far):
            await execute(far, "CREATE TABLE written AS SELECT generate_series(1, 100000)")
            await one.is_reached(1)
            await two.is_reached(1)
            assert await one.states() == ALL_IN
        await one.is_reached(1)
        assert await two.states() == ALL_OUT


async def test_databases_of_one_server_that_are_swapped_put_everybody_out(server: EmbeddedPostgres) -> None:
    names = ("far", "restored")
    for name in names:
        await execute(server, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
    await execute(server, "CREATE TABLE other ()", "CREATE TABLE objects ()", database="restored")
    await execute(server, "CREATE TABLE objects ()", database="far")
    try:
        async with process(1, {FIRST: storage_of(server.dsn()), SECOND: storage_of(server.dsn("far"))}) as one:
            await one.is_reached(1)
            await execute(
                server,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'far'",
                "ALTER DATABASE far RENAME TO old",
                "ALTER DATABASE restored RENAME TO far",
            )
            await one.is_reached(1)
            assert await one.states() == {1: "out"}
    finally:
        for name in (*names, "old"):
            await execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def test_a_server_in_recovery_is_not_reached(
    storages: dict[str, Any], far: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(1, storages) as one:
        await one.is_reached(1)
        far.stop()
        begin_in_recovery(far, "standby.signal")
        await one.until(lambda _: logged(caplog, "the database far is in recovery") > 0, "the standby to be noticed")
        for _ in range(20):
            assert 1 not in await one.reached()
        assert logged(caplog, "the database far is in recovery") == 1
        await execute(far, "SELECT pg_promote()")
        await one.is_reached(1)
        assert await one.states() == {1: "out"}, "it has a timeline of its own now"


async def test_a_database_that_another_cluster_has_taken(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not reached until it is this cluster's again, and then counts as failed over: its commits are unknown."""
    monkeypatch.setattr(databases, "REFRESH_EVERY", 0.0)
    async with connected(database) as connection:
        await connection.execute("CREATE TABLE objects (zoid TEXT PRIMARY KEY)")
        async with process(1, {FIRST: storage_of(database)}) as one:
            assert await one.reached() == {0: 0}
            failovers = "SELECT (identities->'db'->>1)::int FROM groupcache_cluster"
            assert await connection.fetchval(failovers) == 0
            ours = await connection.fetchval("SELECT cluster FROM groupcache_served")
            for _ in range(3):
                await connection.execute("UPDATE groupcache_served SET cluster = 'somebody/5/s', seen = now()")
                assert await one.reached() == {}
            assert await connection.fetchval(failovers) == 0
            assert [record.getMessage().count("is read past the cache") for record in caplog.records].count(1) == 1
            await connection.execute("UPDATE groupcache_served SET cluster = $1", ours)
            assert await one.reached() == {0: 0}
            assert await connection.fetchval(failovers) == 1
            assert await one.states() == {1: "out"}
            assert await one.reached() == {0: 0} and await connection.fetchval(failovers) == 1, "it counts once"
