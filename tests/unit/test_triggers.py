"""The triggers on a real database: which writes are noted, as what, and that no writer is held up (R14)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from guillotina.const import TRASHED_ID
from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache.database import triggers
from guillotina_groupcache.database.notes_table import MAX_NOTES
from guillotina_groupcache.database.triggers import FEW_ROWS, MAX_PLACES, MAX_ROWS
from tests.unit.life_database import connected

MARK = triggers.mark("1/2/public", "it's \\ an id")
TABLE = "public.objects"
INSERT = "INSERT INTO objects (zoid, tid, state_size, part, resource, type, parent_id, id) VALUES "
#: The same as a note shows it: zoid, parent_id, id, of.
ROOT, FOLDER, ITEM = ["root", None, None, None], ["folder", "root", "f", None], ["item", "folder", "i", None]
EVERYTHING = None


async def make(connection: asyncpg.Connection) -> None:
    """An objects table as Guillotina makes it, with a root, a folder, an item in it and the trash."""
    await PostgresqlStorage()._create(connection)
    await connection.execute("CREATE SEQUENCE tid_sequence START 100")
    await connection.execute(
        INSERT + "('root', 1, 0, 0, true, 'Root', NULL, NULL), ('folder', 1, 0, 0, true, 'Folder', 'root', 'f'),"
        f" ('item', 1, 0, 0, true, 'Item', 'folder', 'i'), ('{TRASHED_ID}', 0, 0, 0, false, 'TRASH_REF', NULL, NULL)"
    )


@pytest.fixture
async def outsider(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with triggers, whose first notes were read."""
    async with connected(database, application_name="psql") as connection:
        await make(connection)
        await triggers.install(connection, "public", TABLE, MARK)
        await read(connection)
        yield connection


async def read(connection: asyncpg.Connection) -> list[dict[str, Any]]:
    """Take the notes, which are deleted, in the order in which they were written."""
    rows = await connection.fetch("DELETE FROM groupcache_outside_writes RETURNING *")
    return [
        {**row, "places": row["places"] and sorted(json.loads(row["places"]), key=str)}
        for row in sorted(rows, key=lambda row: row["written"])
    ]


async def places(connection: asyncpg.Connection) -> list[Any]:
    return [note["places"] for note in await read(connection)]


@pytest.mark.parametrize(
    ("statement", "noted"),
    [
        (INSERT + "('new', 1, 0, 0, true, 'Item', 'root', 'n')", [["new", "root", "n", None]]),
        ("UPDATE objects SET state = 'x', tid = 7 WHERE zoid = 'item'", [ITEM]),
        ("UPDATE objects SET state = 'x' WHERE zoid = 'item'", [ITEM]),
        ("UPDATE objects SET parent_id = 'root' WHERE zoid = 'item'", [ITEM, ["item", "root", "i", None]]),
        ("UPDATE objects SET id = 'j' WHERE zoid = 'item'", [ITEM, ["item", "folder", "j", None]]),
        ("UPDATE objects SET of = 'root' WHERE zoid = 'item'", [ITEM, ["item", "folder", "i", "root"]]),
        ("UPDATE objects SET type = 'Other' WHERE zoid IN ('folder', 'item')", [FOLDER, ITEM]),
        (f"UPDATE objects SET parent_id = '{TRASHED_ID}' WHERE zoid = 'item'", [ITEM, ["item", TRASHED_ID, "i", None]]),
        ("DELETE FROM objects WHERE zoid = 'item'", [ITEM]),
        ("SET session_replication_role = replica; DELETE FROM objects WHERE zoid = 'item'", [ITEM]),
        ("TRUNCATE objects CASCADE", EVERYTHING),
        (
            INSERT + "('item', 9, 0, 0, true, 'Item', 'root', 'k')"
            " ON CONFLICT (zoid) DO UPDATE SET tid = EXCLUDED.tid, parent_id = EXCLUDED.parent_id",
            [ITEM, ["item", "root", "i", None]],
        ),
    ],
)
async def test_what_is_written_from_outside_is_noted(
    outsider: asyncpg.Connection, statement: str, noted: list[list[str | None]] | None
) -> None:
    await outsider.execute(statement)
    notes = await read(outsider)
    assert [note["places"] for note in notes] == [noted and sorted(noted, key=str)]
    assert notes[0]["application"] == "psql"


async def test_what_a_deletion_takes_with_it_is_noted(outsider: asyncpg.Connection) -> None:
    await outsider.execute("DELETE FROM objects WHERE zoid = 'folder'")
    assert sorted(row for note in await places(outsider) for row in note) == [FOLDER, ITEM]


async def test_a_copy_is_one_note(outsider: asyncpg.Connection) -> None:
    columns = ["zoid", "tid", "state_size", "part", "resource", "type", "parent_id", "id"]
    records = [(f"new{i}", 1, 0, 0, True, "Item", "root", str(i)) for i in range(10)]
    await outsider.copy_records_to_table("objects", records=records, columns=columns)
    (noted,) = await places(outsider)
    assert noted == sorted([f"new{i}", "root", str(i), None] for i in range(10))


async def test_what_changes_nothing_that_is_cached_is_not_noted(outsider: asyncpg.Connection) -> None:
    for statement in (
        "UPDATE objects SET json = '{}'",
        "UPDATE objects SET state = 'x' WHERE false",
        "DELETE FROM objects WHERE false",
        INSERT + "('item', 9, 0, 0, true, 'Item', 'root', 'k') ON CONFLICT DO NOTHING",
    ):
        await outsider.execute(statement)
    assert await places(outsider) == []
    assert await outsider.fetchval("SELECT tid FROM objects WHERE zoid = 'item'") == 1, (
        "a member's write is no conflict"
    )


async def test_what_a_member_stores_is_not_noted(outsider: asyncpg.Connection) -> None:
    for statement in (
        INSERT + "('new', 1, 0, 0, true, 'Item', 'root', 'n')",
        "UPDATE objects SET state = 'x', tid = 7 WHERE zoid = 'item'",
        f"UPDATE objects SET parent_id = '{TRASHED_ID}' WHERE zoid = 'folder'",
    ):
        await outsider.execute(MARK + statement)
    assert await places(outsider) == []
    await outsider.execute(MARK + "DELETE FROM objects WHERE zoid = 'folder'")
    (noted,) = await places(outsider)
    assert ITEM in noted, "what PostgreSQL deletes with it is noted, and taken back before COMMIT"


@pytest.mark.parametrize("mark", [MARK, triggers.mark("another cluster", "db"), "", " " + MARK, MARK.strip()])
async def test_without_the_mark_a_statement_is_noted(outsider: asyncpg.Connection, mark: str) -> None:
    async with outsider.transaction():
        await outsider.execute(MARK + "UPDATE objects SET state = 'x', tid = 7 WHERE zoid = 'folder'")
        await outsider.execute(mark + "UPDATE objects SET state = $1 WHERE zoid = 'item'", b"prepared")
    is_member = mark == MARK
    assert await places(outsider) == ([] if is_member else [[ITEM]])
    tid = await outsider.fetchval("SELECT tid FROM objects WHERE zoid = 'item'")
    assert (tid == 1) == is_member, "a member that has not seen it must not undo it"


async def test_what_a_trigger_of_the_application_writes_is_noted(outsider: asyncpg.Connection) -> None:
    await outsider.execute(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE objects SET state = 'touched' WHERE zoid = NEW.parent_id; RETURN NULL; END $$;"
        "CREATE TRIGGER touch AFTER UPDATE ON objects FOR EACH ROW WHEN (NEW.zoid = 'item') EXECUTE FUNCTION touch()"
    )
    await outsider.execute(MARK + "UPDATE objects SET state = 'x', tid = 9 WHERE zoid = 'item'")
    assert await places(outsider) == [[FOLDER]]


@pytest.mark.parametrize("deletes", [False, True])
async def test_what_such_a_trigger_deletes_is_noted(outsider: asyncpg.Connection, deletes: bool) -> None:
    fired = "DELETE" if deletes else "UPDATE"
    await outsider.execute(
        "CREATE FUNCTION clear() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " DELETE FROM objects WHERE zoid = 'item'; RETURN NULL; END $$;"
        f"CREATE TRIGGER clear AFTER {fired} ON objects FOR EACH ROW WHEN (OLD.zoid = 'other')"
        " EXECUTE FUNCTION clear();" + INSERT + "('other', 1, 0, 0, true, 'Item', NULL, NULL)"
    )
    await read(outsider)
    await outsider.execute(
        MARK
        + ("DELETE FROM objects" if deletes else "UPDATE objects SET state = 'x', tid = 9")
        + " WHERE zoid = 'other'"
    )
    assert [ITEM] in await places(outsider)


async def test_what_the_tid_does_not_show_is_noted(outsider: asyncpg.Connection) -> None:
    await outsider.execute(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.state := 'touched'; RETURN NEW; END $$;"
        "CREATE TRIGGER touch BEFORE UPDATE ON objects FOR EACH ROW EXECUTE FUNCTION touch()"
    )
    await outsider.execute("UPDATE objects SET json = '{}' WHERE zoid = 'item'")
    assert await places(outsider) == [[ITEM]]
    assert await outsider.fetchval("SELECT tid FROM objects WHERE zoid = 'item'") != 1, "ours comes last"
    await outsider.execute("DROP TRIGGER touch ON objects; DROP SEQUENCE tid_sequence")
    await outsider.execute("UPDATE objects SET state = 'x' WHERE zoid = 'item'")
    assert await places(outsider) == [[ITEM]], "without the sequence as well"


async def test_a_sequence_that_is_behind_gives_another_tid(outsider: asyncpg.Connection) -> None:
    await outsider.execute("UPDATE objects SET tid = 100 WHERE zoid = 'item'")
    await outsider.execute("UPDATE objects SET state = 'x' WHERE zoid = 'item'")
    assert await outsider.fetchval("SELECT tid FROM objects WHERE zoid = 'item'") == 101


async def test_no_other_user_makes_triggers_of_the_functions(outsider: asyncpg.Connection) -> None:
    await outsider.execute("DROP ROLE IF EXISTS groupcache_eve; CREATE ROLE groupcache_eve")
    try:
        await outsider.execute("SET ROLE groupcache_eve; CREATE TEMP TABLE x (zoid TEXT)")
        for name in ("groupcache_note_outside_write", "groupcache_renew_tid"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await outsider.execute(
                    f"CREATE TRIGGER t AFTER INSERT ON x FOR EACH STATEMENT EXECUTE FUNCTION public.{name}()"
                )
    finally:
        await outsider.execute("RESET ROLE; DROP OWNED BY groupcache_eve; DROP ROLE groupcache_eve")


async def test_rights_that_the_owner_has_lost_fail_no_write(outsider: asyncpg.Connection) -> None:
    await outsider.execute(
        "DROP ROLE IF EXISTS groupcache_site; CREATE ROLE groupcache_site;"
        "ALTER FUNCTION groupcache_note_outside_write OWNER TO groupcache_site;"
        "ALTER FUNCTION groupcache_renew_tid OWNER TO groupcache_site"
    )
    try:
        for statement in ("UPDATE objects SET state = 'x'", "DELETE FROM objects WHERE zoid = 'item'"):
            await outsider.execute(statement)
        await outsider.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        await outsider.execute("UPDATE objects SET state = 'y'")
    finally:
        await outsider.execute("REASSIGN OWNED BY groupcache_site TO CURRENT_USER; DROP ROLE groupcache_site")


async def test_an_update_that_leaves_the_tid_gets_the_next_one(outsider: asyncpg.Connection) -> None:
    await outsider.execute("UPDATE objects SET state = 'x' WHERE zoid IN ('item', 'folder')")
    tids = [row["tid"] for row in await outsider.fetch("SELECT tid FROM objects WHERE zoid IN ('item', 'folder')")]
    assert sorted(tids) == [100, 101]
    await outsider.execute("UPDATE objects SET state = 'y', tid = 7 WHERE zoid = 'item'")
    assert await outsider.fetchval("SELECT tid FROM objects WHERE zoid = 'item'") == 7, "its writer knows better"


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


async def test_a_table_that_had_the_name_before_keeps_no_trigger(outsider: asyncpg.Connection) -> None:
    await outsider.execute("ALTER TABLE objects RENAME TO before; CREATE TABLE objects (LIKE before)")
    for statement in triggers.uninstall("public", TABLE):
        await outsider.execute(statement)
    assert await outsider.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%groupcache%'") == 0


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


async def test_to_look_at_the_statement_for_each_row_would_take_too_long(outsider: asyncpg.Connection) -> None:
    """A migration of 60,000 rows that are named one by one: a copy of its text for each would be 500 GB."""
    await outsider.execute(
        "INSERT INTO objects (zoid, tid, state_size, part, resource, type)"
        " SELECT 'many' || s, 1, 0, 0, true, 'Item' FROM generate_series(1, 60000) AS s"
    )
    names = ", ".join(f"'many{i}{' ' * 120}'" for i in range(1, 60001))
    statement = f"UPDATE objects SET state = 'x' WHERE zoid IN (SELECT rtrim(n) FROM unnest(ARRAY[{names}]) AS n)"
    await outsider.execute("SET statement_timeout = '60s'")
    assert await outsider.execute(statement) == "UPDATE 60000"


async def test_a_member_may_put_into_the_trash_and_keep_the_tid(outsider: asyncpg.Connection) -> None:
    trash = f"UPDATE objects SET parent_id = '{TRASHED_ID}' WHERE zoid = 'item'"
    await outsider.execute(MARK + trash)
    assert await outsider.fetchval("SELECT tid FROM objects WHERE zoid = 'item'") == 1
    await outsider.execute("UPDATE objects SET parent_id = 'folder', tid = 1 WHERE zoid = 'item'")
    await outsider.execute(trash)
    assert await outsider.fetchval("SELECT tid FROM objects WHERE zoid = 'item'") > 100, "nobody has announced that"


async def test_a_member_may_write_a_row_twice_and_keep_the_tid(outsider: asyncpg.Connection) -> None:
    async with outsider.transaction():
        for state in "xy":
            await outsider.execute(MARK + f"UPDATE objects SET state = '{state}', tid = 50 WHERE zoid = 'item'")
    assert await outsider.fetchval("SELECT tid FROM objects WHERE zoid = 'item'") == 50
    async with outsider.transaction():
        await outsider.execute(MARK + "UPDATE objects SET state = 'z', tid = 60 WHERE zoid = 'item'")
        await outsider.execute("UPDATE objects SET state = 'a', tid = 60 WHERE zoid = 'item'")
    assert await outsider.fetchval("SELECT tid FROM objects WHERE zoid = 'item'") > 60, "but not what lacks the mark"


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
