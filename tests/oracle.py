"""A Guillotina add-on for the tests: it records what is announced and what is written for `tests.oracle_judge`.

Triggers of its own keep each row that a statement has changed, also a member's, with the transaction's number; a
member's process writes what it has announced, with that number, into a file just before it sends COMMIT. So the judge
sees what was committed and nothing else, whatever becomes of the process, and no statement is sent that the product
would not send. The triggers share no code with the product's, as they would share its faults.
"""

from __future__ import annotations

import asyncio
import os
from contextvars import ContextVar
from typing import Any, Final
from uuid import uuid4

import asyncpg
import msgspec
from guillotina import configure
from guillotina.db.interfaces import IPostgresStorage
from guillotina.interfaces import IDatabaseInitializedEvent

from guillotina_groupcache import answers, commit, events
from guillotina_groupcache.events import Events

#: The variable that names the file; without it nothing is done.
VARIABLE: Final = "GROUPCACHE_TEST_ORACLE"
#: The setting that holds the number of a member's transaction.
WRITER: Final = "groupcache_test_oracle.writer"
#: Attempts to lock the objects table, 0.1 s each: a start must not wait for a long transaction.
_TRIES: Final = 10


class Announced(msgspec.Struct, tag=True):
    """The keys that a transaction has announced before its COMMIT."""

    writer: str
    database: str
    keys: list[bytes]
    everything: bool


class Installed(msgspec.Struct, tag=True):
    """A database that has the triggers."""

    dsn: str


# --- writes

#: The beginning of the statements whose writes the product announces.
MARK: Final = "/* guillotina_groupcache"
_CACHED: Final = ("zoid", "tid", "state_size", "resource", "type", "state", "id", "parent_id", "of")
_PLACE: Final = """CASE WHEN {0}.zoid IS NOT NULL THEN
    jsonb_build_object('zoid', {0}.zoid, 'parent_id', {0}.parent_id, 'id', {0}.id, 'of', {0}.of) END"""
_OLD, _NEW = _PLACE.format("old_rows"), _PLACE.format("new_rows")
_ROWS: Final = "SELECT jsonb_agg(jsonb_build_array({}, {})) INTO changed FROM {}"
_DIFFER: Final = "({}) IS DISTINCT FROM ({})".format(
    *(", ".join(f"{rows}.{column}" for column in _CACHED) for rows in ("old_rows", "new_rows"))
)
#: `rows` are pairs of places, before and after, null where there is none. `noted` are the places that the product has
#: noted for the transaction so far, where a null stands for everything; NULL: it has no triggers (yet),
#: or its notes are not known.
_CREATE: Final = f"""
CREATE SCHEMA IF NOT EXISTS groupcache_test_oracle;
CREATE TABLE IF NOT EXISTS groupcache_test_oracle.writes (
    writer TEXT, operation TEXT, statement TEXT, marked BOOLEAN, rows JSONB, noted JSONB
);
CREATE OR REPLACE FUNCTION groupcache_test_oracle.keep() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    -- PostgreSQL's own triggers delete what a deletion takes with it, which is announced.
    marked CONSTANT boolean := starts_with(current_query(), '{MARK}')
        AND (TG_OP = 'DELETE' OR pg_trigger_depth() = 1);
    changed jsonb;
    noted jsonb;
BEGIN
    IF TG_OP = 'INSERT' THEN
        {_ROWS.format("NULL", _NEW, "new_rows")};
    ELSIF TG_OP = 'DELETE' THEN
        {_ROWS.format(_OLD, "NULL", "old_rows")};
    ELSIF TG_OP = 'UPDATE' THEN
        {_ROWS.format(_OLD, _NEW, "old_rows FULL JOIN new_rows USING (zoid)")} WHERE {_DIFFER};
    ELSE
        changed := '[]';
    END IF;
    IF changed IS NULL THEN
        RETURN NULL;
    END IF;
    -- The product's triggers have fired by now, as those of one statement fire in the order of their names. Their notes
    -- are not read at the strictest level: reading them could fail the transaction, where writing them did not.
    IF NOT marked AND current_setting('transaction_isolation') <> 'serializable'
        AND to_regclass(format('%I.groupcache_outside_writes', TG_TABLE_SCHEMA)) IS NOT NULL AND EXISTS (
        SELECT FROM pg_trigger
        WHERE tgrelid = TG_RELID AND tgname = 'groupcache_' || lower(TG_OP) AND tgenabled = 'A')
    THEN
        -- The only visible rows of a transaction in progress are one's own, savepoints included.
        EXECUTE format($statement$
            SELECT coalesce(jsonb_agg(places), '[]') FROM %I.groupcache_outside_writes
            WHERE relation = $1 AND pg_xact_status(xmin::text::xid8) = 'in progress'
        $statement$, TG_TABLE_SCHEMA) INTO noted USING TG_RELID;
    END IF;
    INSERT INTO groupcache_test_oracle.writes VALUES (
        coalesce(current_setting('{WRITER}', true), ''), TG_OP, left(current_query(), 200), marked, changed, noted);
    RETURN NULL;
END $body$;
"""
_REFERENCING: Final = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "REFERENCING OLD TABLE AS old_rows",
    "TRUNCATE": "",
}
_TRIGGERS: Final = "".join(
    f"""
CREATE TRIGGER oracle_{operation.lower()} AFTER {operation} ON {{table}} {referencing}
FOR EACH STATEMENT EXECUTE FUNCTION groupcache_test_oracle.keep();
ALTER TABLE {{table}} ENABLE ALWAYS TRIGGER oracle_{operation.lower()};
"""
    for operation, referencing in _REFERENCING.items()
)
_FOUND: Final = "SELECT count(*) FROM pg_trigger WHERE tgrelid = $1::text::regclass AND tgname LIKE 'oracle\\_%'"


@configure.subscriber(for_=IDatabaseInitializedEvent)
async def database_initialized(event: Any) -> None:
    """Create the triggers before anything is written to a database."""
    storage = event.database.storage
    if VARIABLE not in os.environ or not IPostgresStorage.providedBy(storage):
        return
    async with storage.pool.acquire(timeout=storage._conn_acquire_timeout) as connection:
        for _ in range(_TRIES):
            try:
                await _install(connection, storage.objects_table_name)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError):
                await asyncio.sleep(0.1)
            except asyncpg.InsufficientPrivilegeError:
                return  # a test of a user that may not create triggers
            else:
                _record(Installed(_dsn(connection)))
                return


async def _install(connection: Any, table: str) -> None:
    if await connection.fetchval(_FOUND, table) == len(_REFERENCING):
        return
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SET LOCAL lock_timeout = '100ms'")
        await connection.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        if not await connection.fetchval(_FOUND, table):
            await connection.execute(_CREATE + _TRIGGERS.format(table=table))


def _dsn(connection: Any) -> str:
    (host, port), parameters = connection._con._addr, connection._con._params
    password = f"password={parameters.password}" if parameters.password else ""
    return f"host={host} port={port} dbname={parameters.database} user={parameters.user} {password}"


# --- announcements

#: What the task has announced and not settled.
_announced: ContextVar[tuple[str, set[bytes], bool] | None] = ContextVar("announced", default=None)


class Numbered(answers.Answers):
    """The connection of a transaction with a number, under which the file has its announcement."""

    __slots__ = ("_writer",)

    _writer: str

    async def execute(self, statement: str) -> str:
        if statement.startswith("BEGIN"):
            self._writer = uuid4().hex
            statement = f"{statement} SET LOCAL {WRITER} = '{self._writer}';"
        elif statement.startswith("COMMIT") and (announced := _announced.get()) is not None:
            database, keys, everything = announced
            _record(Announced(self._writer, database, sorted(keys), everything))
        return await super().execute(statement)


def _watch_announcements() -> None:
    announce, settle, lost = Events.announce, Events.settle, Events.lost

    async def watched(self: Events, database: str, changed: Any, everything: bool = False) -> int:
        changed = set(changed)
        number = await announce(self, database, changed, everything)
        _announced.set((database, changed, everything))
        return number

    def settled(self: Events, *arguments: Any) -> None:
        _announced.set(None)
        settle(self, *arguments)

    def has_lost(self: Events, event: int) -> None:
        _announced.set(None)
        lost(self, event)

    Events.announce = watched  # type: ignore[method-assign]
    Events.settle = settled  # type: ignore[method-assign, assignment]
    Events.lost = has_lost  # type: ignore[method-assign]


def _record(line: Announced | Installed) -> None:
    # One write to a file opened for appending: lines of several processes do not mix.
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(file, msgspec.json.encode(line) + b"\n")
    finally:
        os.close(file)


def includeme(root: Any, settings: Any) -> None:
    """Guillotina's hook for add-ons, which the applications of one process may call again and again."""
    if VARIABLE in os.environ and commit.Answers is not Numbered:
        events.Answers = commit.Answers = Numbered  # type: ignore[misc]
        _watch_announcements()
