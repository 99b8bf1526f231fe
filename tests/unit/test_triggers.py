"""The triggers on a real database: which writes are noted, and as what (R14)."""

from __future__ import annotations

import asyncpg
import pytest
from guillotina.const import TRASHED_ID

from guillotina_groupcache.database import triggers
from tests.unit.life_triggers import EVERYTHING, FOLDER, INSERT, ITEM, MARK, TABLE, places, read


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


async def test_a_table_that_had_the_name_before_keeps_no_trigger(outsider: asyncpg.Connection) -> None:
    await outsider.execute("ALTER TABLE objects RENAME TO before; CREATE TABLE objects (LIKE before)")
    for statement in triggers.uninstall("public", TABLE):
        await outsider.execute(statement)
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
