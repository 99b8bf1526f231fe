"""The notes of outside writes in the database: their table, and every statement on it but that of the triggers (R14).

`{schema}` is that of the objects table, `{table}` the parameter that names it, where it is not the first one.
"""

from __future__ import annotations

from typing import Final

#: Notes of one table beyond which each stands for everything, and a writer sums up: it deletes the old ones.
MAX_NOTES: Final = 1024
#: Notes beyond which a process sums up, before it reads them: a view must not be late for them.
MAX_READ: Final = 4 * MAX_NOTES
#: Bytes of the places of all notes of one table beyond which a process sums up: what triggers write is far less, but a
#: row may come from elsewhere. And of one note as it is stored, in which a value may be a hundredth of its size.
MAX_PLACES_SIZE: Final = 2**24
MAX_STORED_SIZE: Final = 2**20
#: Rows that a note says to be about, for the statistics: more is no number of rows.
MAX_ROWS: Final = 2**40

#: `places` are distinct rows of zoid, parent_id, id, of; NULL stands for everything.
CREATE: Final = """
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
INSERT: Final = """
    INSERT INTO {schema}.groupcache_outside_writes (id, relation, xact, written, application, rows, places)
    VALUES (
        ('x' || translate(left(gen_random_uuid()::text, 18), '-', ''))::bit(64)::bigint & x'7fffffffffffffff'::bigint,
        %s, pg_current_xact_id()::text::bigint, clock_timestamp(), left(current_setting('application_name'), 64),
        %s, %s)
"""
EXIST: Final = "to_regclass('{schema}.groupcache_outside_writes') IS NOT NULL"
#: The notes of an objects table, which is named by a parameter; no more than one too many. `false` where their places
#: are more than `MAX_PLACES_SIZE` bytes. Ids are never negative, so such a row is none of ours.
NOTES: Final = f"""
(SELECT CASE WHEN bool_or(too_large) THEN 'false'
    ELSE json_agg(json_build_object('id', id, 'application', application, 'rows', rows, 'places', places)) END
 FROM (
    SELECT id, application, rows, sum(size) OVER () > {MAX_PLACES_SIZE} AS too_large,
        CASE WHEN sum(size) OVER () <= {MAX_PLACES_SIZE} THEN places END AS places
    FROM (
        SELECT id, left(application, 64) AS application, least(greatest(rows, 0), {MAX_ROWS}) AS rows, places,
            CASE WHEN pg_column_size(places) <= {MAX_STORED_SIZE} THEN octet_length(places::text)
            WHEN places IS NULL THEN 0 ELSE {MAX_PLACES_SIZE} + 1 END AS size
        FROM {{schema}}.groupcache_outside_writes
        WHERE relation = to_regclass({{table}}) AND id >= 0 LIMIT {MAX_READ + 1}
    ) AS measured
 ) AS notes)
"""
#: A note that all processes that miss the same thing write under the same id.
NOTE_EVERYTHING: Final = """
INSERT INTO {schema}.groupcache_outside_writes (id, relation, xact, written, application, rows, places)
VALUES ($2::bigint, to_regclass($1::text), 0, clock_timestamp(), current_setting('application_name'), 0, NULL)
ON CONFLICT DO NOTHING
"""
#: All notes, replaced by one that stands for everything.
SUM_UP: Final = (
    """
WITH gone AS (
    DELETE FROM {schema}.groupcache_outside_writes WHERE id IN (
        SELECT id FROM {schema}.groupcache_outside_writes WHERE relation = to_regclass($1::text) FOR UPDATE SKIP LOCKED)
    RETURNING 1
)"""
    + INSERT % ("to_regclass($1::text)", "(SELECT count(*) FROM gone)", "NULL")
)
#: The notes of the transaction at hand, taken back.
TAKE: Final = """
DELETE FROM {schema}.groupcache_outside_writes
WHERE relation = to_regclass($1::text) AND xact = pg_current_xact_id()::text::bigint
RETURNING id, application, rows, places
"""
#: A note that somebody has locked is deleted later: a view must not wait for it. With them goes what is no note.
FORGET: Final = """
DELETE FROM {schema}.groupcache_outside_writes WHERE id IN (
    SELECT id FROM {schema}.groupcache_outside_writes WHERE id = ANY($1) OR id < 0 FOR UPDATE SKIP LOCKED)
"""

#: Notes of tables that are not there any more.
CLEAN: Final = "DELETE FROM {schema}.groupcache_outside_writes WHERE relation NOT IN (SELECT oid FROM pg_class)"
