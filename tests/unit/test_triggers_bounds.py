"""The triggers on a real database: notes are bounded, and no writer fails or waits for them (R14)."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from guillotina_groupcache.database import triggers
from guillotina_groupcache.database.notes_table import MAX_NOTES
from guillotina_groupcache.database.triggers import FEW_ROWS, MAX_PLACES, MAX_ROWS
from tests.unit.life_database import connected
from tests.unit.life_triggers import EVERYTHING, INSERT, ITEM, MARK, TABLE, make, places, read


async def test_beyond_a_bound_one_note_of_a_transaction_stands_for_everything(outsider: asyncpg.Connection) -> None:
    many = INSERT + "('{0}' || {1}, 1, 0, 0, true, 'Item', 'root', '{0}' || {1})"
    select = many.replace("VALUES (", "SELECT ").rstrip(")") + ") FROM generate_series(1, {2}) AS s"
    async with outsider.transaction():
        await outsider.execute(select.format("a", "s", MAX_ROWS).replace("|| s) FROM", "|| s FROM"))
        for i in range(3):
            await outsider.execute(many.format("b", i))
    noted = await places(outsider)
    assert [note and len(note) for note in noted] == [MAX_ROWS, EVERYTHING]
    async with outsider.transaction():
        await outsider.execute(many.format("c", 0))
    assert await places(outsider) == [[["c0", "root", "c0", None]]], "of the next transaction"


async def test_a_transaction_of_many_statements_is_everything_before_it_slows_others_down(
    outsider: asyncpg.Connection,
) -> None:
    async with outsider.transaction():
        for i in range(100):
            await outsider.execute(f"UPDATE objects SET state = '{i}' WHERE zoid = 'item'")
    noted = await places(outsider)
    assert noted[-1] is EVERYTHING and noted.count(EVERYTHING) == 1 and len(noted) < 60


async def test_a_savepoint_takes_its_notes_back(outsider: asyncpg.Connection) -> None:
    async with outsider.transaction():
        with pytest.raises(ZeroDivisionError):
            async with outsider.transaction():
                await outsider.execute("TRUNCATE objects CASCADE")
                raise ZeroDivisionError
        await outsider.execute("UPDATE objects SET state = 'x' WHERE zoid = 'item'")
    assert await places(outsider) == [[ITEM]]


async def fill(connection: asyncpg.Connection) -> None:
    """Fill the table of notes with old ones, to the bound and one more."""
    await connection.execute(
        "INSERT INTO groupcache_outside_writes (id, relation, xact, written, application, rows, places)"
        " SELECT s, 'objects'::regclass, 0, now() - interval '1 hour', '', 1, '[]'"
        " FROM generate_series(0, $1::int) AS s",
        MAX_NOTES,
    )


async def test_notes_that_no_process_reads_are_summed_up(outsider: asyncpg.Connection) -> None:
    await fill(outsider)
    for i in range(1000):  # one of 16 looks
        await outsider.execute(f"UPDATE objects SET state = '{i}' WHERE zoid = 'item'")
        if await outsider.fetchval("SELECT count(*) FROM groupcache_outside_writes") < MAX_NOTES:
            break
    # As long as there are so many, each stands for everything: it costs a view next to nothing.
    assert all(note is EVERYTHING for note in await places(outsider))


async def test_notes_name_no_more_rows_than_a_view_can_show_in_time(outsider: asyncpg.Connection) -> None:
    many = ", ".join(f"('many-{n}', 1, 0, 0, true, 'Item', NULL, NULL)" for n in range(900))
    await outsider.execute(INSERT + many)
    for i in range(MAX_PLACES // 900 + 1):
        await outsider.execute(f"UPDATE objects SET state = '{i}' WHERE zoid LIKE 'many%'")
    await outsider.execute("UPDATE objects SET state = 'x' WHERE zoid = 'item'")
    noted = await places(outsider)
    assert noted.count(EVERYTHING) == 2
    assert [ITEM] in noted, "a few rows are named all the same"
    assert MAX_PLACES - 900 <= sum(len(note) for note in noted if note is not EVERYTHING) <= MAX_PLACES + FEW_ROWS


async def test_at_a_stricter_level_a_few_rows_are_named(outsider: asyncpg.Connection) -> None:
    """There a writer that reads the notes of others could fail because of it, or make them fail."""
    async with outsider.transaction(isolation="repeatable_read"):
        await outsider.execute("UPDATE objects SET state = 'x' WHERE zoid = 'item'")
    assert await places(outsider) == [[ITEM]]
    more = ", ".join(f"('more-{n}', 1, 0, 0, true, 'Item', NULL, NULL)" for n in range(FEW_ROWS + 1))
    async with outsider.transaction(isolation="repeatable_read"):
        await outsider.execute(INSERT + more)
    assert await places(outsider) == [EVERYTHING]


async def test_writers_do_not_wait_for_each_other(outsider: asyncpg.Connection, database: str) -> None:
    await fill(outsider)
    async with connected(database, lock_timeout="10s") as other, outsider.transaction():
        for i in range(200):
            await outsider.execute(f"UPDATE objects SET state = '{i}' WHERE zoid = 'item'")
        async with other.transaction():
            for i in range(200):
                await other.execute(f"UPDATE objects SET state = '{i}' WHERE zoid = 'folder'")


async def test_a_writer_at_a_stricter_level_does_not_fail(outsider: asyncpg.Connection, database: str) -> None:
    await fill(outsider)
    async with connected(database) as other, other.transaction(isolation="serializable"):
        for i in range(50):
            await other.execute(INSERT + f"('a{i}', 1, 0, 0, true, 'Item', NULL, NULL)")
        async with outsider.transaction(isolation="serializable"):
            for i in range(50):
                await outsider.execute(INSERT + f"('b{i}', 1, 0, 0, true, 'Item', NULL, NULL)")
    assert len(await places(outsider)) == MAX_NOTES + 101


async def test_a_missing_table_of_notes_fails_no_write(outsider: asyncpg.Connection) -> None:
    await outsider.execute("DROP TABLE groupcache_outside_writes; DROP SEQUENCE tid_sequence")
    assert await outsider.execute("UPDATE objects SET state = 'x' WHERE zoid = 'item'") == "UPDATE 1"
    assert await outsider.execute("DELETE FROM objects WHERE zoid = 'item'") == "DELETE 1"


async def test_a_user_without_rights_on_the_notes_may_write(outsider: asyncpg.Connection, database: str) -> None:
    await outsider.execute(
        "DROP ROLE IF EXISTS groupcache_stranger; CREATE ROLE groupcache_stranger;"
        "GRANT ALL ON objects TO groupcache_stranger; SET ROLE groupcache_stranger"
    )
    try:
        await outsider.execute("UPDATE objects SET state = 'x' WHERE zoid = 'item'")
    finally:
        await outsider.execute("RESET ROLE; DROP OWNED BY groupcache_stranger; DROP ROLE groupcache_stranger")
    assert await places(outsider) == [[ITEM]]


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TRIGGER groupcache_update ON objects",
        "ALTER TABLE objects DISABLE TRIGGER ALL; ALTER TABLE objects ENABLE TRIGGER ALL",
        "ALTER TABLE objects DISABLE TRIGGER zz_groupcache_tid",
        "DROP TABLE groupcache_outside_writes",
    ],
)
async def test_damage_is_mended_and_everything_is_noted(outsider: asyncpg.Connection, damage: str) -> None:
    await triggers.install(outsider, "public", TABLE, MARK)
    assert await read(outsider) == [], "what is right is left alone"
    await outsider.execute(damage)
    await triggers.install(outsider, "public", TABLE, MARK)
    assert await places(outsider) == [EVERYTHING], "nobody knows what was written meanwhile"
    found = await outsider.fetchval("SELECT " + triggers.FOUND.format(table="'objects'"))
    assert triggers.are_expected(triggers.decode_found(found), MARK)
    assert not triggers.are_expected(triggers.decode_found(found), "another cluster")


async def test_two_that_install_at_once_do_it_once(database: str) -> None:
    async with connected(database) as one, connected(database) as other:
        await make(one)
        results = await asyncio.gather(
            *(triggers.install(each, "public", TABLE, MARK) for each in (one, other)), return_exceptions=True
        )
        assert [result for result in results if not isinstance(result, asyncpg.LockNotAvailableError)]
        assert not [error for error in results if error and not isinstance(error, asyncpg.LockNotAvailableError)]
        assert await places(one) == [EVERYTHING]


async def test_what_was_installed_is_removed(outsider: asyncpg.Connection) -> None:
    for statement in 2 * triggers.uninstall("public", TABLE):
        await outsider.execute(statement)
    left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'groupcache%'"
    assert await outsider.fetchval(left) == 0
    assert await outsider.fetchval("SELECT count(*) FROM pg_proc WHERE proname LIKE 'groupcache%'") == 0
    assert await outsider.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%groupcache%'") == 0


async def test_notes_at_a_stricter_level_have_a_bound(outsider: asyncpg.Connection) -> None:
    await outsider.execute("ALTER TABLE groupcache_outside_writes ALTER COLUMN application SET STORAGE PLAIN")
    await outsider.execute(
        "INSERT INTO groupcache_outside_writes (id, relation, xact, written, application, rows)"
        " SELECT s, 0, 0, now(), repeat('x', 7000), 1 FROM generate_series(1, 700) AS s"
    )
    assert await outsider.fetchval("SELECT pg_relation_size('groupcache_outside_writes')") > triggers.MAX_SIZE
    async with outsider.transaction(isolation="repeatable_read"):
        await outsider.execute("UPDATE objects SET state = 'x' WHERE zoid = 'item'")
    assert await outsider.fetchval("SELECT places IS NULL FROM groupcache_outside_writes WHERE relation <> 0")


async def test_a_plan_for_few_rows_is_not_kept_for_many(outsider: asyncpg.Connection) -> None:
    await outsider.execute(
        "INSERT INTO objects (zoid, tid, state_size, part, resource, type)"
        " SELECT 'many' || s, 1, 0, 0, true, 'Item' FROM generate_series(1, 40000) AS s"
    )
    for i in range(8):  # after five the plan is kept
        await outsider.execute(f"UPDATE objects SET state = '{i}' WHERE zoid = 'item'")
    await outsider.execute("DELETE FROM groupcache_outside_writes; SET statement_timeout = '60s'")
    assert await outsider.execute("UPDATE objects SET state = 'x' WHERE zoid LIKE 'many%'") == "UPDATE 40000"
