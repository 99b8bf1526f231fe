"""The members table: its schema, how it is made, and every statement on it.

One row a process, and one for the cluster. `{schema}` is that of Guillotina's own tables; `prepared` fills it in.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import asyncpg

from guillotina_groupcache.database.failover import FLUSHED, IDENTITIES, IDENTITY, OBJECTS
from guillotina_groupcache.database.rows import MEMBERS, OLD, SILENT

logger = logging.getLogger("guillotina_groupcache")

#: For how long a change of the tables waits, and makes others wait, for those that use them.
LOCK_TIMEOUT: Final = "500ms"
#: Seconds between two tries.
LOCK_PAUSE: Final = 1.0
#: Columns are only added: a table of an earlier version has no `identities`, which are pairs of identity and losses by
#: database id (R13), and `identity` and `losses` are what that version had in their place.
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
    identity TEXT NOT NULL,
    losses BIGINT NOT NULL DEFAULT 0,
    counted BIGINT,
    counting BIGINT NOT NULL DEFAULT 0,
    identities JSONB NOT NULL DEFAULT '{{}}'
);
INSERT INTO {schema}.groupcache_cluster (id, identity) SELECT 1, {identity} ON CONFLICT DO NOTHING;
"""
#: An earlier version made the table without these columns.
HAS_COLUMNS: Final = """
SELECT count(*) = 4 FROM pg_attribute
WHERE attrelid = to_regclass('{schema}.groupcache_cluster') AND attname IN ('counted', 'counting', 'identities')
OR attrelid = to_regclass('{schema}.groupcache_members') AND attname = 'applied'
"""
ADD_COLUMNS: Final = """
ALTER TABLE {schema}.groupcache_cluster
    ADD COLUMN IF NOT EXISTS counted BIGINT, ADD COLUMN IF NOT EXISTS counting BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS identities JSONB NOT NULL DEFAULT '{{}}';
ALTER TABLE {schema}.groupcache_members ADD COLUMN IF NOT EXISTS applied BIGINT[] NOT NULL DEFAULT '{{}}'
"""
#: How many rows of members there ought to be: those that are there, and $1 that may have been in a table before.
BEGIN_COUNT: Final = """
UPDATE {schema}.groupcache_cluster
SET counted = $1::bigint + (SELECT count(*) FROM {schema}.groupcache_members), counting = {random}
WHERE id = 1 AND counted IS NULL
"""
#: Which count it is: any number that somebody has written there is one, without its sign.
_COUNTING: Final = "counting & 9223372036854775807"
#: Rows that have been missing for a lease are written off, but only from the count in which they were missing.
WRITE_OFF: Final = f"""
UPDATE {{schema}}.groupcache_cluster SET counted = counted - $1::bigint, counting = {{random}}
WHERE id = 1 AND {_COUNTING} = $2
"""
EXIST: Final = "SELECT to_regclass('{schema}.groupcache_members') IS NOT NULL AND (" + HAS_COLUMNS + ")"
#: A row a member, and one without a member where there is none. What is known of the databases $3 is in the first.
READ: Final = f"""
SELECT m.*, c.counted, {_COUNTING} AS counting, c.xmin::text AS cluster_version,
    CASE WHEN row_number() OVER () = 1 THEN {IDENTITIES.format("$3::text[]")} END AS identities,
    {{identity}} AS identity, {{flushed}} AS flushed, {{objects}} AS objects, {{outside}}
FROM {{schema}}.groupcache_cluster c LEFT JOIN {MEMBERS} m ON true
"""
#: Only the first one that notices it does this: $3 is what it has read of the database, in the view that it judges by.
KNOW: Final = """
UPDATE {schema}.groupcache_cluster SET identities = identities || jsonb_build_object($1::text, $2::jsonb)
WHERE id = 1 AND identities -> $1::text IS NOT DISTINCT FROM $3::jsonb RETURNING 1
"""
#: What cannot be read of it is replaced by $1, if the row has the version $2 still.
MEND: Final = """
UPDATE {schema}.groupcache_cluster
SET identities = CASE jsonb_typeof(identities) WHEN 'object' THEN identities ELSE '{{}}' END || $1::jsonb
WHERE id = 1 AND xmin::text = $2
"""
ALL_OUT: Final = """
UPDATE {schema}.groupcache_members SET state = 'out', reason = $1, changed = now() WHERE state <> 'out'
"""
LOCK: Final = "SELECT id FROM {schema}.groupcache_cluster WHERE id = 1 FOR UPDATE"
#: A statement that writes or removes a row counts it. It runs under `LOCK`, as all that lock rows of both tables do.
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
#: A view does not wait for the lock only to clean.
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
#: One that a joiner cannot reach may be alive all the same, which this table tells.
MARK_OUT_SILENT: Final = f"{MARK_OUT} AND {SILENT.format('$3')}"
SEEN: Final = "UPDATE {schema}.groupcache_members SET seen = now() WHERE incarnation = $1"
#: What of the outside writes this process has applied to the versions that it has since it posted its row (R14).
APPLIED: Final = """
UPDATE {schema}.groupcache_members SET applied = $2 WHERE incarnation = $1 AND state = 'in'
"""
#: Who has written to the objects table and has not ended; a prepared transaction counts too.
OPEN: Final = """
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND granted AND relation = $1::regclass
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""

#: A number that JSON holds.
_RANDOM: Final = "(random() * 9007199254740991)::bigint"


def prepared(statement: str, schema: str) -> str:
    """A statement for the table in a schema."""
    return statement.format(
        schema=schema,
        identity=IDENTITY,
        flushed=FLUSHED,
        random=_RANDOM,
        objects=OBJECTS.format("$2::text"),
        outside="{outside}",
    )


async def make(connection: asyncpg.Connection, schema: str, unknown: int = 1) -> None:
    """Make the tables, or what they lack. The count of rows begins with `unknown` that one before may have had.

    Raises `LockNotAvailableError` where somebody reads a table that lacks a column, as a dump does for long: a
    process that waits for that lock holds up everybody's views.
    """
    for attempt in (1, 2, 3):
        try:
            async with connection.transaction(isolation="read_committed"):
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                await connection.execute(prepared(CREATE, schema))
                if not await connection.fetchval(prepared(HAS_COLUMNS, schema)):
                    await connection.execute(prepared(ADD_COLUMNS, schema))
                await connection.execute(prepared(LOCK, schema))
                await connection.execute(prepared(BEGIN_COUNT, schema), unknown)
            return
        except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError):
            # Another process makes them at the same moment.
            if attempt == 3:
                raise


async def make_when_free(connection: asyncpg.Connection, schema: str, unknown: int) -> None:
    """The same, as soon as nobody uses what is to be changed."""
    waits = False
    while True:
        try:
            await make(connection, schema, unknown)
            return
        except asyncpg.LockNotAvailableError:
            if not waits:
                waits = True
                logger.warning(
                    "groupcache: the members table is of an earlier version and in use, as by a dump: this process"
                    " starts when its columns can be added"
                )
            await asyncio.sleep(LOCK_PAUSE)
