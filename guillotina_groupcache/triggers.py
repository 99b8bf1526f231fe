"""The triggers that note outside writes (R14): rows of the objects table changed by what announces nothing.

A member marks the statements by which it stores and deletes what it announces: they begin with a comment that names
its cluster and the database. Whatever has no such mark, raw SQL in a member's own transaction too, is noted in the
transaction that writes it: statement by statement, so that a bulk update, or a cascade, is one note. Nobody who writes
may fail or wait for that: the function takes no lock that two writers could both need, and a missing table of notes is
no error.

The tension: a mark of a whole transaction, by a setting, would not tell raw SQL in it from what is announced, and that
of a connection would get to strangers. Conditions of triggers are parsed anew by every statement, so they must be
short: to look at a setting as well took a member's commit 80 µs more, the comment alone takes it 20 µs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import asyncpg
import msgspec

#: Raised with every change of the functions or triggers: the newest one stays.
VERSION: Final = 1
#: Rows that the notes of one transaction name one by one; beyond, one note stands for everything.
MAX_ROWS: Final = 1000
#: Rows that the notes of one table name together, those of few rows aside; beyond, a note stands for everything.
MAX_PLACES: Final = 10_000
FEW_ROWS: Final = 10
#: Notes of one table beyond which each stands for everything, and a writer sums up: it deletes the old ones.
MAX_NOTES: Final = 1024
#: Seconds after which a note is old: every process that serves has read it by then, or reads that everything changed.
OLD: Final = 10
#: For how long the objects table is waited for, and makes its writers wait.
LOCK_TIMEOUT: Final = "100ms"

EXIST: Final = "to_regclass('{schema}.groupcache_outside_writes') IS NOT NULL"
#: The triggers that are there, with their state and arguments (`expected`). The table is named by a parameter.
FOUND: Final = r"""
(SELECT json_object_agg(tgname, tgenabled::text || ' ' || encode(tgargs, 'escape')) FROM pg_trigger
 WHERE tgrelid = to_regclass({table}) AND tgname LIKE 'groupcache\_%' AND NOT tgisinternal)
"""
#: The notes of an objects table, which is named by a parameter.
NOTES: Final = """
(SELECT json_agg(json_build_object('id', id, 'application', application, 'rows', rows, 'places', places))
 FROM {schema}.groupcache_outside_writes WHERE relation = to_regclass({table}))
"""
#: Whether the transaction at hand has noted anything, which no error can come from.
HAS_NOTED: Final = "SELECT current_setting('guillotina_groupcache.noted_' || to_regclass($1::text)::oid, true) <> ''"
#: Its notes, taken back.
TAKE: Final = """
DELETE FROM {schema}.groupcache_outside_writes
WHERE relation = to_regclass($1::text) AND xact = pg_current_xact_id()::text::bigint
RETURNING id, application, rows, places
"""
#: A note that somebody has locked is deleted later: a view must not wait for it.
FORGET: Final = """
DELETE FROM {schema}.groupcache_outside_writes WHERE id IN (
    SELECT id FROM {schema}.groupcache_outside_writes WHERE id = ANY($1) FOR UPDATE SKIP LOCKED)
"""

_SHOW: Final = f"SELECT {EXIST} AS notes_exist, {FOUND.format(table='$1::text')} AS found"
#: Notes of tables that are not there any more.
_CLEAN: Final = "DELETE FROM {schema}.groupcache_outside_writes WHERE relation NOT IN (SELECT oid FROM pg_class)"
_LOCK: Final = "LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"
#: `places` are distinct rows of zoid, parent_id, id, of; NULL stands for everything.
_CREATE: Final = """
CREATE TABLE IF NOT EXISTS {schema}.groupcache_outside_writes (
    id BIGINT PRIMARY KEY,
    relation OID NOT NULL,
    xact BIGINT NOT NULL,
    written TIMESTAMPTZ NOT NULL,
    application TEXT NOT NULL,
    rows BIGINT NOT NULL,
    places JSONB
)
"""
#: Ids are random (of 59 bits): a sequence would go back with a restore, and a note that was read before be overlooked.
_INSERT: Final = """
    INSERT INTO {schema}.groupcache_outside_writes (id, relation, xact, written, application, rows, places)
    VALUES (
        ('x' || translate(left(gen_random_uuid()::text, 18), '-', ''))::bit(64)::bigint & x'7fffffffffffffff'::bigint,
        %s, pg_current_xact_id()::text::bigint, clock_timestamp(), left(current_setting('application_name'), 64),
        %s, %s)
"""
_NOTE: Final = (
    """
CREATE OR REPLACE FUNCTION {schema}.groupcache_note_outside_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    -- How many rows this transaction has noted; -1: everything. A rollback to a savepoint takes both back.
    setting CONSTANT text := 'guillotina_groupcache.noted_' || TG_RELID;
    noted bigint := coalesce(nullif(current_setting(setting, true), ''), '0');
    changed bigint := 0;
    changed_places jsonb;
BEGIN
    IF noted < 0 OR to_regclass('{schema}.groupcache_outside_writes') IS NULL THEN
        RETURN NULL;
    END IF;
    -- A row has a new tid if anything has changed that is cached: an index in its `json` is none.
    IF TG_OP = 'INSERT' THEN
        SELECT count(*) INTO changed FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT count(*) INTO changed FROM old_rows;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT count(*) INTO changed FROM {changed_to};
    END IF;
    IF changed = 0 AND TG_OP <> 'TRUNCATE' THEN
        RETURN NULL;
    END IF;
    noted := noted + changed;
    BEGIN
        -- A view shows all notes, and must not be late for it. At a stricter level to read them could fail the writer.
        IF TG_OP = 'TRUNCATE' OR noted > {max_rows} THEN
            noted := -1;
        ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
            noted := CASE WHEN changed > {few_rows} THEN -1 ELSE noted END;
        ELSIF EXISTS (
            SELECT FROM {schema}.groupcache_outside_writes WHERE relation = TG_RELID OFFSET {max_notes})
        THEN
            noted := -1;
            -- With nobody to read them the notes are summed up now and then.
            IF random() < 0.0625 THEN
                WITH old AS (
                    SELECT id FROM {schema}.groupcache_outside_writes
                    WHERE relation = TG_RELID AND written < clock_timestamp() - interval '{old} seconds'
                    FOR UPDATE SKIP LOCKED)
                DELETE FROM {schema}.groupcache_outside_writes WHERE id IN (SELECT id FROM old);
            END IF;
        ELSIF changed > {few_rows} AND (
            SELECT sum(rows) + changed > {max_places} FROM {schema}.groupcache_outside_writes
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
                (SELECT zoid, parent_id, id, of FROM {changed_from})
                UNION
                (SELECT zoid, parent_id, id, of FROM {changed_to})
            ) AS places_of_both;
        END IF;
        PERFORM set_config(setting, noted::text, true);
"""
    + _INSERT % ("TG_RELID", "changed", "changed_places")
    + """;
    EXCEPTION WHEN undefined_table THEN
        -- Somebody has dropped it just now. Who makes it again notes that everything may have changed.
    END;
    RETURN NULL;
END $body$
"""
)
_DIFFERENCE: Final = """(
    SELECT zoid, tid, parent_id, id, of FROM {} EXCEPT SELECT zoid, tid, parent_id, id, of FROM {}) AS {}"""
#: A member's UPDATE demands the tid with which the object was read: it must not undo what it has never seen.
_RENEW_TID: Final = """
CREATE OR REPLACE FUNCTION {schema}.groupcache_renew_tid() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF OLD.tid IS NOT DISTINCT FROM NEW.tid
        AND (OLD.zoid, OLD.parent_id, OLD.of, OLD.id, OLD.type, OLD.resource, OLD.state_size, OLD.state)
        IS DISTINCT FROM (NEW.zoid, NEW.parent_id, NEW.of, NEW.id, NEW.type, NEW.resource, NEW.state_size, NEW.state)
        AND to_regclass('{schema}.tid_sequence') IS NOT NULL
    THEN
        NEW.tid := nextval('{schema}.tid_sequence');
    END IF;
    RETURN NEW;
END $body$
"""
_FILLED: Final = {
    "max_rows": MAX_ROWS,
    "max_notes": MAX_NOTES,
    "max_places": MAX_PLACES,
    "few_rows": FEW_ROWS,
    "old": OLD,
    "changed_from": _DIFFERENCE.format("old_rows", "new_rows", "changed_from"),
    "changed_to": _DIFFERENCE.format("new_rows", "old_rows", "changed_to"),
}
#: A trigger of the application may write more than the statement that fired it, so it is as if that had no mark: it is
#: looked for at another place. What a deletion takes with it is deleted by PostgreSQL's own triggers, and known (R11).
_OUTSIDE: Final = "(substr(current_query(), 1 + pg_trigger_depth(), {length}) <> '{mark}')"
_OUTSIDE_AT_ALL: Final = "(left(current_query(), {length}) <> '{mark}')"


def mark(cluster: str, database: str) -> str:
    """What statements begin with whose changes the members of a cluster hear of, which know the database by this id."""
    return f"/* guillotina_groupcache {hashlib.sha256(f'{cluster} {database}'.encode()).hexdigest()[:16]} */ "


def are_expected(found: Mapping[str, str], mark: str) -> bool:
    """Whether the triggers that `FOUND` has shown are all there, fire always, and are made for this mark.

    Those of a later version are as good: processes of two versions would else make them in turns.
    """
    return all(_is_expected(found.get(name, ""), mark) for name in _triggers("", "", mark))


def _is_expected(found: str, mark: str) -> bool:
    enabled, _, arguments = found.partition(" ")
    version, _, made_for = arguments.removesuffix("\\000").partition("\\000")
    return enabled == "A" and made_for == mark and version.isdigit() and int(version) >= VERSION


def _triggers(schema: str, table: str, mark: str | None) -> dict[str, str]:
    """The statements that create the triggers, by name; without a mark they fire for everyone."""
    outside = "true" if mark is None else _OUTSIDE.format(mark=mark, length=len(mark))
    deletes = "true" if mark is None else _OUTSIDE_AT_ALL.format(mark=mark, length=len(mark))
    arguments = f"'{VERSION}', '{mark or ''}'"
    note = f"EXECUTE FUNCTION {schema}.groupcache_note_outside_write({arguments})"
    old, new = "OLD TABLE AS old_rows", "NEW TABLE AS new_rows"
    statements = {
        "groupcache_insert": f"AFTER INSERT ON {table} REFERENCING {new} FOR EACH STATEMENT WHEN ({outside}) {note}",
        "groupcache_update": f"AFTER UPDATE ON {table} REFERENCING {old} {new} FOR EACH STATEMENT"
        f" WHEN ({outside}) {note}",
        "groupcache_delete": f"AFTER DELETE ON {table} REFERENCING {old} FOR EACH STATEMENT WHEN ({deletes}) {note}",
        "groupcache_truncate": f"AFTER TRUNCATE ON {table} FOR EACH STATEMENT {note}",
        "groupcache_tid": f"BEFORE UPDATE ON {table} FOR EACH ROW"
        f" WHEN ({outside}) EXECUTE FUNCTION {schema}.groupcache_renew_tid({arguments})",
    }
    return {name: f"CREATE TRIGGER {name} {statement}" for name, statement in statements.items()}


def creation(schema: str, table: str, mark: str | None) -> list[str]:
    """The statements that create the table of notes, the functions and the triggers."""
    statements = [statement.format(schema=schema, **_FILLED) for statement in (_CREATE, _NOTE, _RENEW_TID)]
    for name, statement in _triggers(schema, table, mark).items():
        # Else it does not fire where `session_replication_role` is `replica`, as for a restore.
        statements += [statement, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"]
    return statements


def uninstall(schema: str, table: str) -> list[str]:
    """The statements that remove the triggers, the functions and the notes."""
    return [
        *(f"DROP TRIGGER IF EXISTS {name} ON {table}" for name in _triggers("", "", "")),
        f"DROP FUNCTION IF EXISTS {schema}.groupcache_note_outside_write()",
        f"DROP FUNCTION IF EXISTS {schema}.groupcache_renew_tid()",
        f"DROP TABLE IF EXISTS {schema}.groupcache_outside_writes",
    ]


async def install(connection: asyncpg.Connection, schema: str, table: str, mark: str) -> None:
    """Make what is not as it should be, and note that everything may have been written meanwhile.

    Raises `LockNotAvailableError` where somebody has been writing for longer than `LOCK_TIMEOUT`.
    """
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        # Whoever else installs waits here, and finds it done; and whoever writes later fires the triggers.
        await connection.execute(_LOCK.format(table=table))
        row = await connection.fetchrow(_SHOW.format(schema=schema), table)
        found = decode_found(row["found"])
        if row["notes_exist"] and are_expected(found, mark):
            return
        for name in found.keys() & _triggers(schema, table, mark).keys():
            await connection.execute(f"DROP TRIGGER {name} ON {table}")
        for statement in creation(schema, table, mark):
            await connection.execute(statement)
        await connection.execute(_CLEAN.format(schema=schema))
        await connection.execute((_INSERT % ("$1::text::regclass", "0", "NULL")).format(schema=schema), table)


def decode_found(found: str | None) -> dict[str, str]:
    """What `FOUND` has shown: the state and the arguments of the triggers, by name."""
    return msgspec.json.decode(found, type=dict[str, str]) if found else {}
