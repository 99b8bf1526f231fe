"""R13: what a real server shows after a restart, a failover and a return to an earlier state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from guillotina_groupcache.database.failover import Known, Look, Watch
from harness.postgres_embedded import EmbeddedPostgres
from harness.postgres_losses import fail_over, put_back
from tests.unit.life_members import execute, two_members

IDENTITY = "1/2 16384"
VOLATILE = "1/2/since 16384"


def look(identity: str, flushed: int, known: Known | None) -> Look:
    return Look(0, known, identity, flushed, None)


def seen(identity: str, losses: int = 0) -> tuple[Watch, Known]:
    """A watch that has seen a database with this identity and 10 bytes of log, and what the cluster's row said then."""
    watch, known = Watch(), Known(identity, losses)
    watch.saw(look(identity, 10, known), losses)
    return watch, known


def test_a_database_that_the_cluster_does_not_know_is_taken_as_it_is() -> None:
    assert Watch().judge(look(IDENTITY, 10, None), None) == Known(IDENTITY, 0)
    watch, _ = seen(IDENTITY)
    assert watch.judge(look(IDENTITY, 10, None), None) == Known(IDENTITY, 0)
    assert watch.judge(look("1/3", 10, None), None) == Known("1/3", 1), "this process knew another identity"


def test_another_identity_than_the_cluster_knows_is_a_failover() -> None:
    known = Known(IDENTITY, 7)
    for watch in (Watch(), seen(IDENTITY, 7)[0]):
        assert watch.judge(look(IDENTITY, 11, known), known) == known
        assert watch.judge(look("1/3", 11, known), known) == Known("1/3", 8)


def test_a_look_that_is_older_than_the_clusters_row_proves_nothing() -> None:
    watch, known = seen(IDENTITY)
    assert watch.judge(look(IDENTITY, 10, known), Known("1/3", 1)) is None
    assert Watch().judge(look(IDENTITY, 10, None), Known("1/3", 1)) is None
    assert watch.judge(look("1/3", 10, known), Known("1/3", 1)) == Known("1/3", 1)


def test_what_was_put_back_is_one_failover() -> None:
    watch, known = seen(IDENTITY)
    again = look(IDENTITY, 9, known)
    assert watch.judge(again, known) == Known(IDENTITY, 1)
    assert watch.judge(again, known) == Known(IDENTITY, 1), "it could not be written, and is not forgotten"
    assert watch.judge(again, Known(IDENTITY, 1)) == Known(IDENTITY, 1), "somebody has counted it"
    watch.saw(again, 1)
    assert watch.judge(look(IDENTITY, 9, known), Known(IDENTITY, 1)) == Known(IDENTITY, 1)


@pytest.mark.parametrize(("identity", "lost"), [(IDENTITY, 0), (VOLATILE, 1)])
def test_a_crash_counts_only_where_commits_are_not_on_the_disk(identity: str, lost: int) -> None:
    watch, known = Watch(), Known(identity, 0)
    watch.reconnected = True
    assert watch.judge(look(identity, 10, known), known) == known, "the first look"
    watch.saw(look(identity, 10, known), 0)
    watch.reconnected = True
    assert watch.judge(look(identity, 10, known), known) == Known(identity, lost)


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server that keeps what it acknowledges: the tests' usual one has fsync off."""
    with EmbeddedPostgres() as server:
        asyncio.run(execute(server, "ALTER SYSTEM SET fsync = on", "SELECT pg_reload_conf()"))
        yield server


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
    await execute(server, "ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()")
    async with two_members(server) as (read, read_other):
        await execute(server, "CHECKPOINT")  # otherwise the table itself would be lost
        server.stop("immediate")
        server.start()
        assert await read() == ALL_OUT
        await _enter(server, 1)
        assert await read_other() == {1: "in", 2: "out"}, "counted once"
        assert await read() == {1: "in", 2: "out"}


async def test_a_failover_puts_everybody_out_once(server: EmbeddedPostgres) -> None:
    async with two_members(server) as (read, read_other):
        fail_over(server)
        assert await read() == ALL_OUT
        await _enter(server, 1)
        assert await read_other() == {1: "in", 2: "out"}


async def test_an_earlier_state_of_the_server_puts_everybody_out(server: EmbeddedPostgres) -> None:
    async with two_members(server) as (read, read_other):
        with put_back(server):
            await execute(server, "CREATE TABLE written AS SELECT generate_series(1, 100000)")
            assert await read() == await read_other() == ALL_IN
        assert await read() == ALL_OUT


DDL = (
    "CREATE INDEX ON objects (a)",
    "ALTER TABLE objects ADD COLUMN b INT",
    "ALTER TABLE objects ALTER COLUMN a TYPE BIGINT",
    "VACUUM FULL objects",
    "REINDEX TABLE objects",
)
SWAP = (
    "CREATE TABLE restored (LIKE objects INCLUDING ALL)",
    "BEGIN; ALTER TABLE objects RENAME TO old; ALTER TABLE restored RENAME TO objects; COMMIT",
)


async def test_another_objects_table_puts_everybody_out_once_and_ddl_nobody(server: EmbeddedPostgres) -> None:
    await execute(server, "CREATE TABLE objects (zoid TEXT, a INT)")
    async with two_members(server) as (read, read_other):
        await execute(server, *DDL)
        assert await read() == await read_other() == ALL_IN
        await execute(server, *SWAP)
        assert await read() == ALL_OUT
        await _enter(server, 1)
        assert await read_other() == await read() == {1: "in", 2: "out"}


async def _enter(server: EmbeddedPostgres, who: int) -> None:
    await execute(server, f"UPDATE groupcache_members SET state = 'in' WHERE incarnation = {who}")
