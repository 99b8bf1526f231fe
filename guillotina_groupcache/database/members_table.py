"""The members table: its schema, how it is made, and every statement on it.

It has one row per process; a table beside it has one row for the cluster. `{schema}` is the schema of Guillotina's
own tables; `prepared` fills it in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import asyncpg

from guillotina_groupcache.database.connections import make_tables
from guillotina_groupcache.database.databases import Database
from guillotina_groupcache.database.failover import FLUSHED, IDENTITIES, IDENTITY, OBJECTS
from guillotina_groupcache.database.rows import MEMBERS, OLD, OVERDUE

#: `identities` holds a pair of identity and failovers for each database id (R13).
CREATE: Final = """
CREATE TABLE IF NOT EXISTS {schema}.groupcache_members (
    incarnation BIGINT PRIMARY KEY,
    address TEXT NOT NULL,
    host TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('joining', 'boot', 'in', 'out')),
    reason TEXT NOT NULL DEFAULT '',
    changed TIMESTAMPTZ NOT NULL DEFAULT now(),
    seen TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied BIGINT[] NOT NULL DEFAULT '{{}}'
);
CREATE TABLE IF NOT EXISTS {schema}.groupcache_cluster (
    id SMALLINT PRIMARY KEY CHECK (id = 1),
    counted BIGINT NOT NULL,
    counting BIGINT NOT NULL,
    identities JSONB NOT NULL DEFAULT '{{}}'
)
"""
#: A number that JSON can hold.
_RANDOM: Final = "(random() * 9007199254740991)::bigint"
#: Begins to count the rows that the members table should have: those that are there, and $1 that a table which is gone
#: may have had.
BEGIN_COUNT: Final = f"""
INSERT INTO {{schema}}.groupcache_cluster (id, counted, counting)
SELECT 1, $1::bigint + (SELECT count(*) FROM {{schema}}.groupcache_members), {_RANDOM} ON CONFLICT DO NOTHING
"""
#: Which count this is. Somebody may have written any number there, so the sign is dropped.
_COUNTING: Final = "counting & 9223372036854775807"
#: Writes off rows that have been missing for a lease, but only from the count in which they were missing.
WRITE_OFF: Final = f"""
UPDATE {{schema}}.groupcache_cluster SET counted = counted - $1::bigint, counting = {_RANDOM}
WHERE id = 1 AND {_COUNTING} = $2
"""
EXIST: Final = """
SELECT to_regclass('{schema}.groupcache_members') IS NOT NULL AND to_regclass('{schema}.groupcache_cluster') IS NOT NULL
"""
#: One row per member, and a single row without a member where there is none. The first row also holds what is known of
#: the databases $3.
VIEW: Final = f"""
SELECT m.*, c.counted, {_COUNTING} AS counting, c.xmin::text AS cluster_version,
    CASE WHEN row_number() OVER () = 1 THEN {IDENTITIES.format("$3::text[]")} END AS identities,
    {IDENTITY} AS identity, {FLUSHED} AS flushed, {OBJECTS.format("$2::text")} AS objects, {{outside}}
FROM {{schema}}.groupcache_cluster c LEFT JOIN {MEMBERS} m ON true
"""
#: Records what a database has shown. Only the first process that notices it succeeds: $3 is what that process has read
#: about the database in the view by which it judges.
KNOW: Final = """
UPDATE {schema}.groupcache_cluster SET identities = identities || jsonb_build_object($1::text, $2::jsonb)
WHERE id = 1 AND identities -> $1::text IS NOT DISTINCT FROM $3::jsonb RETURNING 1
"""
#: Replaces what cannot be read in `identities` by $1, if the row still has the version $2.
MEND: Final = """
UPDATE {schema}.groupcache_cluster
SET identities = CASE jsonb_typeof(identities) WHEN 'object' THEN identities ELSE '{{}}' END || $1::jsonb
WHERE id = 1 AND xmin::text = $2
"""
ALL_OUT: Final = """
UPDATE {schema}.groupcache_members SET state = 'out', reason = $1, changed = now() WHERE state <> 'out'
"""
LOCK: Final = "SELECT id FROM {schema}.groupcache_cluster WHERE id = 1 FOR UPDATE"
#: Statements that write or remove a member's row also count it. They run under `LOCK`, as does every statement that
#: locks rows of both tables.
POST: Final = """
WITH posted AS (
    INSERT INTO {schema}.groupcache_members (incarnation, address, host, state) VALUES ($1, $2, $3, 'joining')
    ON CONFLICT (incarnation) DO UPDATE SET address = EXCLUDED.address, host = EXCLUDED.host,
        state = 'joining', reason = '', changed = now(), seen = now(), applied = '{{}}'
    RETURNING xmax = 0 AS is_new
)
UPDATE {schema}.groupcache_cluster SET counted = counted + 1 WHERE id = 1 AND (SELECT is_new FROM posted)
"""
_REMOVE: Final = """
WITH removed AS (DELETE FROM {schema}.groupcache_members WHERE """
_COUNT_REMOVED: Final = """ RETURNING 1)
UPDATE {schema}.groupcache_cluster SET counted = counted - (SELECT count(*) FROM removed) WHERE id = 1
"""
REMOVE: Final = _REMOVE + "incarnation = $1" + _COUNT_REMOVED
CLEAN: Final = _REMOVE + OLD + _COUNT_REMOVED
#: A view does not wait for the lock just to clean up.
LOCK_TO_CLEAN: Final = (
    "SELECT id FROM {schema}.groupcache_cluster WHERE id = 1 AND EXISTS ("
    f"SELECT 1 FROM {{schema}}.groupcache_members WHERE {OLD}) FOR UPDATE SKIP LOCKED"
)
ELECT: Final = """
UPDATE {schema}.groupcache_members SET state = 'boot', changed = now()
WHERE incarnation = $1 AND state = 'joining' AND NOT EXISTS (
    SELECT 1 FROM {schema}.groupcache_members WHERE state IN ('in', 'boot') AND incarnation <> $1)
RETURNING 1
"""
ENTER: Final = """
UPDATE {schema}.groupcache_members SET state = 'in', changed = now()
WHERE incarnation = $1 AND state IN ('joining', 'boot') RETURNING 1
"""
MARK_OUT: Final = """
UPDATE {schema}.groupcache_members SET state = 'out', reason = $2, changed = now()
WHERE incarnation = $1 AND state <> 'out'
"""
#: A member that a joiner cannot reach may still be alive; its heartbeat in this table shows that.
MARK_OUT_OVERDUE: Final = f"{MARK_OUT} AND {OVERDUE.format('$3')}"
HEARTBEAT: Final = "UPDATE {schema}.groupcache_members SET seen = now() WHERE incarnation = $1"
#: The notes that this process has applied to the versions that it has had since it posted its row (R14).
APPLIED: Final = """
UPDATE {schema}.groupcache_members SET applied = $2 WHERE incarnation = $1 AND state = 'in'
"""
#: The transactions that have written to the objects table and have not ended, prepared ones included.
OPEN: Final = """
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND granted AND relation = $1::regclass
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""


def prepared(statement: str, schema: str) -> str:
    """A statement for the members table in a schema."""
    return statement.format(schema=schema, outside="{outside}")


class MembersTable:
    """The members table as one process uses it, over the connection of the database that holds it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.schema: str = database.connection.storage._db_schema

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run one of the statements of this module and return its rows."""
        return await self.database.connection.fetch(prepared(statement, self.schema), *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A transaction in which each statement sees what was committed before it, whatever the server's default is."""
        async with (await self.database.connection.get()).transaction(isolation="read_committed"):
            yield

    async def exists(self) -> bool:
        """Whether both tables are there."""
        ((exists,),) = await self.fetch(EXIST)
        return bool(exists)

    async def make(self, unknown: int = 1) -> None:
        """Make the tables unless they are there. The count of rows begins with `unknown`, those that are lost."""
        await make_tables(partial(self._make, unknown))

    async def _make(self, unknown: int) -> None:
        connection = await self.database.connection.get()
        async with self.transaction():
            await connection.execute(prepared(CREATE, self.schema))
            await connection.execute(prepared(BEGIN_COUNT, self.schema), unknown)
