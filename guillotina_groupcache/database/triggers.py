"""The triggers that note outside writes (R14): changes of the objects table by something that announces nothing.

A member marks the statements by which it stores and deletes what it announces: they begin with a comment that names
its cluster and the database. A statement without such a mark, raw SQL in a member's own transaction too, is noted in
the transaction that writes: one note per statement, so a bulk update, or a cascade, is one note. No writer may fail or
wait for that: the function takes no lock that two writers could both need, and a missing table of notes is no error.

The tension: a setting could mark a whole transaction, but would not distinguish raw SQL in it from what is announced;
and a mark of a connection would reach other clients behind a pooler. The conditions of triggers are parsed again for
every statement, so they must be short: looking at a setting as well took a member's commit 80 µs more, the comment
alone takes it 20 µs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import asyncpg
import msgspec

from guillotina_groupcache.database.notes_table import CLEAN, CREATE, EXIST, INSERT, MAX_NOTES

#: Raised with every change of the functions or triggers: the newest version stays.
VERSION: Final = 1
#: Rows that the notes of one transaction name one by one; beyond that, one note stands for everything.
MAX_ROWS: Final = 1000
#: Rows that the notes of one table name together; beyond that, a note of more than `FEW_ROWS` stands for everything.
MAX_PLACES: Final = 10_000
FEW_ROWS: Final = 10
#: Bytes of the table of notes beyond which each note stands for everything, and its writer does not read the table: it
#: may be full of deleted notes that cannot be vacuumed because somebody holds an old snapshot.
MAX_SIZE: Final = 2**20
#: Each note of a transaction counts for at least this many rows. Each is a subtransaction, and the server has room for
#: 64 of them in each transaction; beyond that, it slows down all others.
MIN_ROWS: Final = 20
#: Seconds after which a note is old: every process that serves has read it by then, or reads a note that stands for
#: everything.
OLD: Final = 10
#: How long an installation waits for the objects table, and makes its writers wait.
LOCK_TIMEOUT: Final = "100ms"

#: The triggers that are there, with their state and arguments (`are_expected`). A parameter names the table.
FOUND: Final = r"""
(SELECT json_object_agg(tgname, tgenabled::text || ' ' || encode(tgargs, 'escape')) FROM pg_trigger
 WHERE tgrelid = to_regclass({table}) AND tgname LIKE '%groupcache\_%' AND NOT tgisinternal)
"""
#: A text that changes with DDL that rewrites the rows and fires no trigger, as their file does, and with each change of
#: a trigger, as the row does that describes it. Empty: there is no such table, or it has no triggers.
SHAPE: Final = r"""
(SELECT coalesce(pg_relation_filenode(to_regclass({table})) || ' ' || string_agg(xmin::text, ' ' ORDER BY tgname), '')
 FROM pg_trigger WHERE tgrelid = to_regclass({table}) AND tgname LIKE '%groupcache\_%')
"""
#: Whether the current transaction has noted anything. This cannot fail.
HAS_NOTED: Final = "SELECT current_setting('guillotina_groupcache.noted_' || to_regclass($1::text)::oid, true) <> ''"
_SHOW: Final = f"SELECT {EXIST} AS notes_exist, {FOUND.format(table='$1::text')} AS found"
_LOCK: Final = "LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"
#: Rows that the other table does not have, or has otherwise in a column that is cached, which `json` is not. In most
#: cases `tid` differs, and states need not be compared.
_DIFFERENCE: Final = """(
    SELECT a.zoid, a.parent_id, a.id, a.of FROM {} AS a LEFT JOIN {} AS b ON b.zoid = a.zoid
    WHERE b.zoid IS NULL OR (a.tid, a.parent_id, a.id, a.of) IS DISTINCT FROM (b.tid, b.parent_id, b.id, b.of)
    OR (a.type, a.resource, a.state_size, a.state) IS DISTINCT FROM (b.type, b.resource, b.state_size, b.state)
) AS {}"""
_CHANGED_FROM: Final = _DIFFERENCE.format("old_rows", "new_rows", "changed_from")
_CHANGED_TO: Final = _DIFFERENCE.format("new_rows", "old_rows", "changed_to")
_NOTE: Final = (
    f"""
CREATE OR REPLACE FUNCTION {{schema}}.groupcache_note_outside_write() RETURNS trigger
-- The plan that is made for a statement of one row is used for those of many too, and must not be a nested loop.
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $body$
DECLARE
    -- How many rows this transaction has noted; -1: everything. A rollback to a savepoint resets it, like the notes.
    setting CONSTANT text := 'guillotina_groupcache.noted_' || TG_RELID;
    noted bigint := coalesce(nullif(current_setting(setting, true), ''), '0');
    changed bigint := 0;
    changed_places jsonb;
BEGIN
    IF noted < 0 OR to_regclass('{{schema}}.groupcache_outside_writes') IS NULL THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        SELECT count(*) INTO changed FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT count(*) INTO changed FROM old_rows;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT count(*) INTO changed FROM {_CHANGED_TO};
    END IF;
    IF changed = 0 AND TG_OP <> 'TRUNCATE' THEN
        RETURN NULL;
    END IF;
    noted := noted + greatest(changed, {MIN_ROWS});
    -- A view shows all notes, and they must not make it late. At a stricter level, reading them could fail the writer.
    IF TG_OP = 'TRUNCATE' OR noted > {MAX_ROWS} THEN
        noted := -1;
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        IF changed > {FEW_ROWS} OR pg_relation_size('{{schema}}.groupcache_outside_writes') > {MAX_SIZE} THEN
            noted := -1;
        END IF;
    ELSIF pg_relation_size('{{schema}}.groupcache_outside_writes') > {MAX_SIZE} OR EXISTS (
        SELECT FROM {{schema}}.groupcache_outside_writes WHERE relation = TG_RELID OFFSET {MAX_NOTES})
    THEN
        noted := -1;
        -- Where no process reads the notes, writers delete the old ones now and then.
        IF random() < 0.0625 THEN
            WITH old AS (
                SELECT id FROM {{schema}}.groupcache_outside_writes
                WHERE relation = TG_RELID AND written < clock_timestamp() - interval '{OLD} seconds'
                FOR UPDATE SKIP LOCKED)
            DELETE FROM {{schema}}.groupcache_outside_writes WHERE id IN (SELECT id FROM old);
        END IF;
    ELSIF changed > {FEW_ROWS} AND (
        SELECT sum(rows) + changed > {MAX_PLACES} FROM {{schema}}.groupcache_outside_writes
        WHERE relation = TG_RELID AND places IS NOT NULL)
    THEN
        noted := -1;
    END IF;
    IF noted < 0 THEN
        changed_places := NULL;
    ELSIF TG_OP = 'INSERT' THEN
        SELECT jsonb_agg(jsonb_build_array(zoid, parent_id, id, of)) INTO changed_places FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT jsonb_agg(jsonb_build_array(zoid, parent_id, id, of)) INTO changed_places FROM old_rows;
    ELSE
        SELECT jsonb_agg(jsonb_build_array(zoid, parent_id, id, of)) INTO changed_places FROM (
            (SELECT zoid, parent_id, id, of FROM {_CHANGED_FROM})
            UNION
            (SELECT zoid, parent_id, id, of FROM {_CHANGED_TO})
        ) AS places_of_both;
    END IF;
    PERFORM set_config(setting, noted::text, true);
"""
    + INSERT % ("TG_RELID", "changed", "changed_places")
    + """;
    RETURN NULL;
EXCEPTION WHEN undefined_table OR undefined_column OR insufficient_privilege THEN
    -- Somebody has just dropped the table, or taken the owner's rights away: the writer must not fail because of that.
    RAISE WARNING 'guillotina_groupcache: what was written is not noted: %', SQLERRM;
    RETURN NULL;
END $body$
"""
)
#: A member's UPDATE demands the tid with which the object was read. So an outside write must change the tid, else the
#: member would undo what it has never seen.
_RENEW_TID: Final = """
CREATE OR REPLACE FUNCTION {schema}.groupcache_renew_tid() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- A member keeps the tid of a row that it puts into the trash or writes twice. Looking at an outside statement for
    -- every row would copy it each time, however long it is.
    IF current_setting('guillotina_groupcache.outside_at', true) IS DISTINCT FROM statement_timestamp()::text THEN
        IF substr(current_query(), pg_trigger_depth(), length(TG_ARGV[1])) = TG_ARGV[1] THEN
            RETURN NEW;
        END IF;
        PERFORM set_config('guillotina_groupcache.outside_at', statement_timestamp()::text, true);
    END IF;
    IF (OLD.zoid, OLD.parent_id, OLD.of, OLD.id, OLD.type, OLD.resource, OLD.state_size, OLD.state)
        IS DISTINCT FROM (NEW.zoid, NEW.parent_id, NEW.of, NEW.id, NEW.type, NEW.resource, NEW.state_size, NEW.state)
        AND to_regclass('{schema}.tid_sequence') IS NOT NULL
    THEN
        -- After a restore of the rows alone the sequence may return the very tid that the row has.
        LOOP
            NEW.tid := nextval('{schema}.tid_sequence');
            EXIT WHEN NEW.tid <> OLD.tid;
        END LOOP;
    END IF;
    RETURN NEW;
EXCEPTION WHEN undefined_table OR insufficient_privilege THEN
    RETURN NEW;
END $body$
"""
#: Writes by triggers, the application's or PostgreSQL's own, which delete what lies below, count as unmarked whatever
#: statement fired them: the mark is looked for at another offset. A background worker may have no statement at all.
_OUTSIDE: Final = "(substr(current_query(), 1 + pg_trigger_depth(), {length}) IS DISTINCT FROM '{mark}')"
#: The functions run with their owner's rights, so only the installing user may make triggers of them: a trigger on
#: another user's table could make them read whatever that user calls `new_rows`.
_REVOKE: Final = """
REVOKE ALL ON FUNCTION {schema}.groupcache_note_outside_write(), {schema}.groupcache_renew_tid() FROM PUBLIC
"""


def mark(cluster: str, database: str) -> str:
    """The comment with which members of a cluster mark statements that they announce, on the database with an id."""
    return f"/* guillotina_groupcache {hashlib.sha256(f'{cluster} {database}'.encode()).hexdigest()[:16]} */ "


def are_expected(found: Mapping[str, str], mark: str) -> bool:
    """Whether `FOUND` has shown all triggers, and they fire always and are made for this mark.

    Those of a later version are as good: else processes of two versions would replace each other's.
    """
    return all(_is_expected(found.get(name, ""), mark) for name in _triggers("", "", mark))


def _is_expected(found: str, mark: str) -> bool:
    enabled, _, arguments = found.partition(" ")
    version, _, made_for = arguments.removesuffix("\\000").partition("\\000")
    return enabled == "A" and made_for == mark and version.isdigit() and int(version) >= VERSION


def _triggers(schema: str, table: str, mark: str) -> dict[str, str]:
    """The statements that create the triggers, by name."""
    outside = _OUTSIDE.format(mark=mark, length=len(mark))
    arguments = f"'{VERSION}', '{mark}'"
    note = f"EXECUTE FUNCTION {schema}.groupcache_note_outside_write({arguments})"
    old, new = "OLD TABLE AS old_rows", "NEW TABLE AS new_rows"
    statements = {
        "groupcache_insert": f"AFTER INSERT ON {table} REFERENCING {new} FOR EACH STATEMENT WHEN ({outside}) {note}",
        "groupcache_update": f"AFTER UPDATE ON {table} REFERENCING {old} {new} FOR EACH STATEMENT"
        f" WHEN ({outside}) {note}",
        "groupcache_delete": f"AFTER DELETE ON {table} REFERENCING {old} FOR EACH STATEMENT WHEN ({outside}) {note}",
        "groupcache_truncate": f"AFTER TRUNCATE ON {table} FOR EACH STATEMENT {note}",
        # It is the last by its name, so that it sees what triggers of the application have made of a row.
        "zz_groupcache_tid": f"BEFORE UPDATE ON {table} FOR EACH ROW"
        f" WHEN (OLD.tid IS NOT DISTINCT FROM NEW.tid) EXECUTE FUNCTION {schema}.groupcache_renew_tid({arguments})",
    }
    return {name: f"CREATE TRIGGER {name} {statement}" for name, statement in statements.items()}


def creation(schema: str, table: str, mark: str) -> list[str]:
    """The statements that create the table of notes, the functions and the triggers."""
    statements = [statement.format(schema=schema) for statement in (CREATE, _NOTE, _RENEW_TID, _REVOKE)]
    for name, statement in _triggers(schema, table, mark).items():
        # Otherwise it does not fire where `session_replication_role` is `replica`, as during a restore.
        statements += [statement, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"]
    return statements


def uninstall(schema: str, table: str) -> list[str]:
    """The statements that remove the triggers, the functions and the notes."""
    return [
        *(f"DROP TRIGGER IF EXISTS {name} ON {table}" for name in _triggers("", "", "")),
        # CASCADE: with the triggers of a table that had this name before.
        f"DROP FUNCTION IF EXISTS {schema}.groupcache_note_outside_write() CASCADE",
        f"DROP FUNCTION IF EXISTS {schema}.groupcache_renew_tid() CASCADE",
        f"DROP TABLE IF EXISTS {schema}.groupcache_outside_writes",
    ]


async def install(connection: asyncpg.Connection, schema: str, table: str, mark: str) -> None:
    """Make the triggers unless they are as they should be, and note that everything may have been written meanwhile.

    Raises `LockNotAvailableError` where somebody has been writing for longer than `LOCK_TIMEOUT`.
    """
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        # Another process that installs waits here, and finds it done; a later writer fires the triggers.
        await connection.execute(_LOCK.format(table=table))
        row = await connection.fetchrow(_SHOW.format(schema=schema), table)
        found = decode_found(row["found"])
        if row["notes_exist"] and are_expected(found, mark):
            return
        for name in found.keys() & _triggers(schema, table, mark).keys():
            await connection.execute(f"DROP TRIGGER {name} ON {table}")
        for statement in creation(schema, table, mark):
            await connection.execute(statement)
        await connection.execute(CLEAN.format(schema=schema))
        await connection.execute((INSERT % ("$1::text::regclass", "0", "NULL")).format(schema=schema), table)


def decode_found(found: str | None) -> dict[str, str]:
    """Decode what `FOUND` has shown: the state and the arguments of the triggers, by name."""
    return msgspec.json.decode(found, type=dict[str, str]) if found else {}
