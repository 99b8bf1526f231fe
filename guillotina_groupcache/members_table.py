"""The members table: its schema, and every statement on it.

One row a process, and one for the cluster. `{schema}` is that of Guillotina's own tables; `prepared` fills it in.
"""

from __future__ import annotations

from typing import Final

from guillotina_groupcache.losses import FLUSHED, IDENTITY

CREATE: Final = """
CREATE TABLE IF NOT EXISTS {schema}.groupcache_members (
    incarnation BIGINT PRIMARY KEY,
    address TEXT NOT NULL,
    host TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('joining', 'boot', 'in', 'out')),
    reason TEXT NOT NULL DEFAULT '',
    changed TIMESTAMPTZ NOT NULL DEFAULT now(),
    seen TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS {schema}.groupcache_cluster (
    id SMALLINT PRIMARY KEY CHECK (id = 1),
    identity TEXT NOT NULL,
    losses BIGINT NOT NULL DEFAULT 0
);
INSERT INTO {schema}.groupcache_cluster (id, identity) SELECT 1, {identity} ON CONFLICT DO NOTHING;
"""
EXIST: Final = "SELECT to_regclass('{schema}.groupcache_cluster') IS NOT NULL"
#: A row a member, and one without a member where there is none.
READ: Final = """
SELECT m.incarnation, m.address, m.host, m.state, m.reason, m.seen < now() - make_interval(secs => $1) AS silent,
    c.identity AS expected, c.losses, {identity} AS identity, {flushed} AS flushed
FROM {schema}.groupcache_cluster c LEFT JOIN {schema}.groupcache_members m ON true
"""
LOOK: Final = "SELECT {identity} AS identity, {flushed} AS flushed"
#: Only the first one that notices a loss does this: $2 is what it has read of losses.
COUNT_LOSS: Final = """
UPDATE {schema}.groupcache_cluster SET identity = $1, losses = greatest(losses, $2) + 1
WHERE id = 1 AND (identity <> $1 OR losses <= $2) RETURNING 1
"""
ALL_OUT: Final = """
UPDATE {schema}.groupcache_members SET state = 'out', reason = $1, changed = now() WHERE state <> 'out'
"""
#: Who is out and alive may commit by an older reading, and joiners need its word: its row stays.
CLEAN: Final = """
DELETE FROM {schema}.groupcache_members
WHERE state = 'out' AND changed < now() - interval '1 minute' AND seen < now() - interval '1 minute'
"""
POST: Final = """
INSERT INTO {schema}.groupcache_members (incarnation, address, host, state) VALUES ($1, $2, $3, 'joining')
ON CONFLICT (incarnation) DO UPDATE SET state = 'joining', reason = '', changed = now(), seen = now()
"""
LOCK: Final = "SELECT id FROM {schema}.groupcache_cluster WHERE id = 1 FOR UPDATE"
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
MARK_OUT_SILENT: Final = MARK_OUT + " AND seen < now() - make_interval(secs => $3)"
SEEN: Final = "UPDATE {schema}.groupcache_members SET seen = now() WHERE incarnation = $1"
REMOVE: Final = "DELETE FROM {schema}.groupcache_members WHERE incarnation = $1"
#: Who has written to the objects table and has not ended; a prepared transaction counts too.
OPEN: Final = """
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND granted AND relation = $1::regclass
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""


def prepared(statement: str, schema: str) -> str:
    """A statement for the table in a schema."""
    return statement.format(schema=schema, identity=IDENTITY, flushed=FLUSHED)
