"""Rows that no process can own, and rows with anything in them: a view bounds what it reads, and goes on (R17)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from guillotina_groupcache.database import rows
from tests.unit.life_members import Process, process, storage_of

ROW = "INSERT INTO groupcache_members (incarnation, address, host, state, reason, applied) VALUES "
MANY = 10_000_000
#: Rows that no process can own: what is written, and what the log must show of it.
OWNERLESS = {
    "nobody": (f"{ROW} (0, '', '', 'in', '', '{{}}')", "incarnation 0, state 'in'"),
    "negative": (f"{ROW} (-5, '127.0.0.1:9000', 'h', 'in', '', '{{}}')", "incarnation -5"),
    "least": (f"{ROW} (-9223372036854775808, '', '', 'out', '', '{{}}')", "incarnation -9223372036854775808"),
    "host of 10 MB": (f"{ROW} (7, '', repeat('h', {MANY}), 'in', '', '{{}}')", "incarnation 7"),
    "address of 10 MB": (f"{ROW} (7, repeat('a', {MANY}), '', 'in', '', '{{}}')", "address 'aaaa"),
    "escape sequence": (f"{ROW} (7, E'unix:/\\x1b[2J', '', 'in', '', '{{}}')", r"'unix:/\x1b[2J'"),
    "line in an address": (f"{ROW} (7, E'unix:/a\nERROR b', '', 'in', '', '{{}}')", r"'unix:/a\nERROR b'"),
    "line after an address": (f"{ROW} (7, E'127.0.0.1:9\\n', '', 'in', '', '{{}}')", r"'127.0.0.1:9\n'"),
    "blank before an address": (f"{ROW} (7, ' 127.0.0.1:9', '', 'in', '', '{{}}')", "' 127.0.0.1:9'"),
    "line in a host": (f"{ROW} (7, '', E'a\nERROR b', 'in', '', '{{}}')", r"host 'a\nERROR b'"),
    "backwards": (f"{ROW} (7, U&'unix:/\\202Ea', '', 'in', '', '{{}}')", r"'unix:/\u202ea'"),
    "no address": (f"{ROW} (7, 'elsewhere', '', 'in', '', '{{}}')", "'elsewhere'"),
    "no port": (f"{ROW} (7, '127.0.0.1:99999', '', 'in', '', '{{}}')", "'127.0.0.1:99999'"),
    "state": (
        "ALTER TABLE groupcache_members DROP CONSTRAINT groupcache_members_state_check;"
        f"{ROW} (7, '', '', repeat('x', {MANY}), '', '{{}}')",
        "state 'xxxxxxxxxxxxxxxxxxxx',",
    ),
}
#: What somebody has written into the row of a process that is in.
ODD = {
    "reason of 10 MB": f"reason = repeat('r', {MANY})",
    "line in a reason": r"reason = E'a\nERROR \x1b[2J'",
    "applied: a hundred thousand": "applied = (SELECT array_agg(n) FROM generate_series(1, 100000) n)",
    "applied: negative": "applied = '{-1,5,NULL,-9223372036854775808}'",
    "applied: a matrix": "applied = '{{1,2},{3,4}}'",
    "seen: infinity": "seen = 'infinity'",
    "seen: -infinity": "seen = '-infinity'",
    "changed: infinity": "changed = 'infinity'",
}


@asynccontextmanager
async def one(dsn: str) -> AsyncIterator[tuple[Process, asyncpg.Connection]]:
    """A process that is in, and a connection of the test's own."""
    async with process(1, {"db": storage_of(dsn)}) as member:
        connection = await asyncpg.connect(dsn)
        try:
            member.views._cleaned = float("inf")  # what the test sees is no effect of cleaning
            # The count begins with one more, for a table that may have been there before: it is written off.
            view = await member.view()
            await member.ask(op="write_off", missing=view["missing"], counting=view["counting"])
            yield member, connection
        finally:
            await connection.close()


async def view_of(member: Process) -> tuple[dict[int, str], int]:
    """The states in the next view, which must not fail, and how many rows are missing."""
    view = await member.ask(op="take_view", asked=0)
    assert "error" not in view, view["error"]
    assert len(repr(view)) < 10_000, "more crosses the boundary than rows take"
    return {row["incarnation"]: row["state"] for row in view["rows"]}, view["missing"]


@pytest.mark.parametrize("name", OWNERLESS)
async def test_a_row_without_an_owner(database: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    statement, named = OWNERLESS[name]
    async with one(database) as (member, connection):
        await connection.execute(statement)
        caplog.clear()
        assert await view_of(member) == ({1: "in"}, 0)
        (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        message = record.getMessage()
        assert "no process can own are removed" in message and named in message, message
        assert message.isprintable() and len(message) < 600
        assert await connection.fetchval("SELECT count(*) FROM groupcache_members") == 1
        assert await view_of(member) == ({1: "in"}, 0)
        assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


@pytest.mark.parametrize("name", ODD)
async def test_a_row_with_anything_in_it_is_read(database: str, name: str) -> None:
    async with one(database) as (member, connection):
        await connection.execute(f"{ROW} (7, '127.0.0.1:9000', 'h', 'in', '', '{{}}')")
        await connection.execute(f"UPDATE groupcache_members SET {ODD[name]} WHERE incarnation = 7")
        assert await view_of(member) == ({1: "in", 7: "in"}, -1)
        (row,) = [row for row in (await member.view())["rows"] if row["incarnation"] == 7]
        assert row["reason"].isprintable() and len(row["reason"]) <= rows.MAX_REASON + 20
        assert all(id_ >= 0 for id_ in row["applied"]) and len(row["applied"]) <= rows.MAX_APPLIED
        assert row["overdue"] == ("infinity" in name and "seen" in name)


async def test_an_impossible_time_keeps_no_row(database: str) -> None:
    """A row whose heartbeat lies in the future is marked out as overdue, and removed in the end."""
    async with one(database) as (member, connection):
        await connection.execute(f"{ROW} (7, '127.0.0.1:9000', 'h', 'in', '', '{{}}')")
        await connection.execute("UPDATE groupcache_members SET seen = 'infinity' WHERE incarnation = 7")
        await member.ask(op="mark_out", incarnation=7, reason="it is not reached", overdue=True)
        assert (await view_of(member))[0] == {1: "in", 7: "out"}
        await connection.execute("UPDATE groupcache_members SET changed = 'infinity' WHERE incarnation = 7")
        member.views._cleaned = 0.0
        assert (await view_of(member))[0] == {1: "in"}


async def test_a_row_that_was_spoilt_is_missing(database: str) -> None:
    """Its owner may serve, and commit, by its last view: so the row counts as one that was deleted (R3, R5)."""
    async with one(database) as (member, connection), process(7, {"db": storage_of(database)}) as other:
        assert await view_of(member) == ({1: "in", 7: "in"}, 0)
        await connection.execute("UPDATE groupcache_members SET address = E'a\nb' WHERE incarnation = 7")
        assert await view_of(member) == ({1: "in"}, 1)
        assert await view_of(member) == ({1: "in"}, 1), "the row is removed, and still missing"
        await other.ask(op="post", incarnation=7, address="127.0.0.1:9000", host="h")
        assert await view_of(member) == ({1: "in", 7: "joining"}, 1)
        await connection.execute("UPDATE groupcache_members SET host = repeat('h', 1000) WHERE incarnation = 7")
        await other.ask(op="post", incarnation=7, address="127.0.0.1:9000", host="h")
        assert await view_of(member) == ({1: "in", 7: "joining"}, 1), "its process has written it again"


async def test_a_locked_row_is_left_out_and_holds_nothing_up(database: str) -> None:
    async with one(database) as (member, connection):
        await connection.execute(OWNERLESS["nobody"][0])
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM groupcache_members WHERE incarnation = 0 FOR UPDATE")
            for _ in range(2):
                assert await asyncio.wait_for(view_of(member), 2) == ({1: "in"}, 0)
        assert await view_of(member) == ({1: "in"}, 0)
        assert await connection.fetchval("SELECT count(*) FROM groupcache_members") == 1


async def test_many_rows_without_an_owner(database: str) -> None:
    async with one(database) as (member, connection):
        await connection.execute(f"{ROW} (generate_series(-25000, 0), repeat('a', 1000), '', 'in', '', '{{}}')")
        left = 25001
        while left:
            assert await view_of(member) == ({1: "in"}, 0)
            before, left = left, await connection.fetchval("SELECT count(*) FROM groupcache_members") - 1
            assert left <= max(before - rows.MAX_REMOVED, 0)


# --- the cluster's row


@pytest.mark.parametrize(
    "identities",
    [
        "'[]'",
        "'17'",
        "'null'",
        "'{\"db\": 17}'",
        "'{\"db\": null}'",
        "'{\"db\": []}'",
        '\'{"db": ["a", "b"]}\'',
        '\'{"db": ["a", -1]}\'',
        '\'{"db": ["a", 1e308]}\'',
        '\'{"db": ["a", 99999999999999999999999999]}\'',
        '\'{"db": ["a", 1, 2]}\'',
        "jsonb_build_object('db', repeat('x', 10000000))",
        "jsonb_build_object('db', jsonb_build_array(repeat('x', 10000000), 1))",
    ],
)
async def test_an_entry_of_a_database_that_cannot_be_read_is_a_failover(
    database: str, identities: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody knows what it said, so commits may be lost: all members are put out once, and go on (R13)."""
    async with one(database) as (member, connection):
        await connection.execute(f"UPDATE groupcache_cluster SET identities = {identities}")
        caplog.clear()
        assert "could not be read" in (await member.ask(op="take_view", asked=0))["error"]
        assert await view_of(member) == ({1: "out"}, 0)
        assert (await member.reached()).keys() == {0}
        await member.ask(op="post", incarnation=1)
        assert await view_of(member) == ({1: "joining"}, 0)
        assert all(len(record.getMessage()) < 400 for record in caplog.records)
        assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 2


async def test_other_databases_in_the_clusters_row_are_not_read(database: str) -> None:
    async with one(database) as (member, connection):
        await connection.execute(
            "UPDATE groupcache_cluster SET identities = identities || (SELECT jsonb_object_agg('other' || n, 'x')"
            " FROM generate_series(1, 10000) n)"
        )
        read = await member.views.rows()
        assert sum(len(str(value)) for value in read[0].values()) < 2000
        assert await view_of(member) == ({1: "in"}, 0)
        await connection.execute(f"UPDATE groupcache_cluster SET identities = to_jsonb(repeat('x', {MANY}))")
        await member.view()
        assert (await member.reached()).keys() == {0}


@pytest.mark.parametrize("column", ["counted", "counting"])
@pytest.mark.parametrize("number", [-1, -(2**63), 2**63 - 1])
async def test_any_number_is_a_count(database: str, column: str, number: int) -> None:
    async with one(database) as (member, connection):
        await connection.execute(f"UPDATE groupcache_cluster SET {column} = {number}")
        for _ in range(3):
            view: dict[str, Any] = await member.ask(op="take_view", asked=0)
            assert -(2**63) <= view["missing"] < 2**63 and 0 <= view["counting"] < 2**63
            await member.ask(op="write_off", missing=view["missing"], counting=view["counting"])
        assert await view_of(member) == ({1: "in"}, 0)
