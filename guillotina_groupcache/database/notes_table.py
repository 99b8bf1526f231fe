"""The table of notes of outside writes (R14): its schema, and every statement on it except those of the triggers.

`{schema}` is the schema of the objects table, `{table}` the parameter that names the objects table where that is not
the first one. To *sum up* the notes of a table is to replace them by one note that stands for everything.
"""

from __future__ import annotations

from typing import Final

#: Notes of one table beyond which each new one stands for everything; now and then a writer deletes the old ones.
MAX_NOTES: Final = 1024
#: Notes beyond which a process sums up before it reads them: they must not make a view late.
MAX_READ: Final = 4 * MAX_NOTES
#: Bytes of the places of all notes of one table beyond which a process sums up: triggers write far less, but a row may
#: come from elsewhere. And of one note as it is stored: compressed, it may take a hundredth of its size.
MAX_PLACES_SIZE: Final = 2**24
MAX_STORED_SIZE: Final = 2**20
#: The largest number of rows that a note may give, which is for the statistics.
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
#: Ids are random (59 bits): a restore would put a sequence back, and a new note with a known id would be overlooked.
INSERT: Final = """
    INSERT INTO {schema}.groupcache_outside_writes (id, relation, xact, written, application, rows, places)
    VALUES (
        ('x' || translate(left(gen_random_uuid()::text, 18), '-', ''))::bit(64)::bigint & x'7fffffffffffffff'::bigint,
        %s, pg_current_xact_id()::text::bigint, clock_timestamp(), left(current_setting('application_name'), 64),
        %s, %s)
"""
EXIST: Final = "to_regclass('{schema}.groupcache_outside_writes') IS NOT NULL"
#: The notes of an objects table, which a parameter names, and at most one more than `MAX_READ`. `false` where their
#: places take more than `MAX_PLACES_SIZE` bytes. Ids are never negative: a row with such an id is not ours.
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
#: Writes a note that stands for everything. Processes that notice the same gap give it the same id.
NOTE_EVERYTHING: Final = """
INSERT INTO {schema}.groupcache_outside_writes (id, relation, xact, written, application, rows, places)
VALUES ($2::bigint, to_regclass($1::text), 0, clock_timestamp(), current_setting('application_name'), 0, NULL)
ON CONFLICT DO NOTHING
"""
#: Replaces all notes by one that stands for everything.
SUM_UP: Final = (
    """
WITH gone AS (
    DELETE FROM {schema}.groupcache_outside_writes WHERE id IN (
        SELECT id FROM {schema}.groupcache_outside_writes WHERE relation = to_regclass($1::text) FOR UPDATE SKIP LOCKED)
    RETURNING 1
)"""
    + INSERT % ("to_regclass($1::text)", "(SELECT count(*) FROM gone)", "NULL")
)
#: Takes back the notes of the current transaction.
TAKE: Final = """
DELETE FROM {schema}.groupcache_outside_writes
WHERE relation = to_regclass($1::text) AND xact = pg_current_xact_id()::text::bigint
RETURNING id, application, rows, places
"""
#: Deletes notes, and rows that are none. A locked note is deleted later: a view must not wait for it.
FORGET: Final = """
DELETE FROM {schema}.groupcache_outside_writes WHERE id IN (
    SELECT id FROM {schema}.groupcache_outside_writes WHERE id = ANY($1) OR id < 0 FOR UPDATE SKIP LOCKED)
"""

#: Deletes the notes of tables that are gone.
CLEAN: Final = "DELETE FROM {schema}.groupcache_outside_writes WHERE relation NOT IN (SELECT oid FROM pg_class)"
