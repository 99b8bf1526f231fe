"""Notes of outside writes, and claims to a table, with anything in them: what is read is bounded, and nothing stops."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from guillotina_groupcache.database.notes_table import MAX_PLACES_SIZE
from tests.unit.life_database import TIMEOUT, connected
from tests.unit.test_claims import _quick, claim_of, connection, refused  # noqa: F401
from tests.unit.test_outside_writes import outsider, process  # noqa: F401

NOTE = (
    "INSERT INTO groupcache_outside_writes (id, relation, xact, written, application, rows, places)"
    " SELECT {id}, 'objects'::regclass, 0, {written}, {application}, {rows}, {places}"
)
GOOD = {"id": "77", "written": "now()", "application": "'psql'", "rows": "1", "places": "'[[\"item\",null,null,null]]'"}
#: What a note's row holds, and whether the note stands for everything then.
NOTES = {
    "as it should be": ({}, False),
    "places: a number": ({"places": "'17'"}, True),
    "places: no list": ({"places": '\'{"zoid": "item"}\''}, True),
    "places: too few parts": ({"places": "'[[\"item\"]]'"}, True),
    "places: no zoid": ({"places": "'[[null,null,null,null]]'"}, True),
    "places: numbers": ({"places": "'[[1,2,3,4]]'"}, True),
    "places: JSON's null": ({"places": "'null'"}, True),
    "places: more than a trigger notes": (
        {"places": "(SELECT jsonb_agg(jsonb_build_array('z', null, null, null)) FROM generate_series(1, 2001))"},
        True,
    ),
    "rows: negative": ({"rows": "-1"}, False),
    "rows: many": ({"rows": "9223372036854775807"}, False),
    "application of 10 MB": ({"application": "repeat('a', 10000000)"}, False),
    "written: infinity": ({"written": "'infinity'"}, False),
}


@pytest.mark.parametrize("name", NOTES)
async def test_a_note_with_anything_in_it(outsider: asyncpg.Connection, database: str, name: str) -> None:  # noqa: F811
    fields, everything = NOTES[name]
    async with process(1, database) as one:
        await one.until_shown(lambda shown: len(shown) == 1)
        await outsider.execute(NOTE.format(**GOOD | fields))
        view = await one.ask(op="take_view", asked=0)
        assert 77 in view["reached"][0]["outside"], view
        id_, _, changed, is_everything, rows, application = one.notes[-1]
        assert (id_, is_everything, bool(list(changed))) == (77, everything, not everything)
        assert 0 <= rows < 2**63 and len(application) <= 64


async def test_a_number_that_no_note_has(outsider: asyncpg.Connection, database: str) -> None:  # noqa: F811
    """Triggers write no negative number: the row is no note, and is deleted with the next ones."""
    async with process(1, database) as one:
        (first,) = await one.until_shown(lambda shown: len(shown) == 1)
        await outsider.execute(NOTE.format(**GOOD | {"id": "-77"}))
        view = await one.ask(op="take_view", asked=0)
        assert view["reached"][0]["outside"] == [first]
        await one.ask(op="forget_outside", word=0, outside=[first])
        assert await outsider.fetchval("SELECT count(*) FROM groupcache_outside_writes") == 0


@pytest.mark.parametrize(
    "places",
    [
        f"to_jsonb(repeat('x', {MAX_PLACES_SIZE + 1}))",
        # The value can hardly be compressed, so its size is what stops it from being read.
        "(SELECT jsonb_agg(md5(n::text)) FROM generate_series(1, 60000) n)",
        "(repeat('[', 3000) || repeat(']', 3000))::jsonb",
    ],
)
async def test_notes_that_are_too_large_are_summed_up(
    outsider: asyncpg.Connection,  # noqa: F811
    database: str,
    places: str,
) -> None:
    async with process(1, database) as one:
        await one.until_shown(lambda shown: len(shown) == 1)
        await outsider.execute(NOTE.format(**GOOD | {"places": places}))
        view = await one.ask(op="take_view", asked=0)
        (shown,) = view["reached"][0]["outside"]
        assert shown != 77 and one.notes[-1][0] == shown and one.notes[-1][3], "one for everything"
        assert await outsider.fetchval("SELECT count(*) FROM groupcache_outside_writes") == 1


# --- claims


CLAIMS = {
    "nonsense": "'nonsense', 'db', now()",
    "empty": "'', '', 'infinity'",
    "too_few": "'1/2', 'db', '-infinity'",
    "large": "repeat('c', 10000000), repeat('d', 10000000), '200000-01-01'",
}


@pytest.mark.usefixtures("_quick")
async def test_a_claim_with_anything_in_it_is_taken(database: str) -> None:
    """Nobody renews it: so it was left behind."""
    await asyncio.gather(*(_is_taken(database, schema) for schema in CLAIMS))


async def _is_taken(database: str, schema: str) -> None:
    async with connected(database) as connection:  # noqa: F811
        await connection.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.objects (zoid TEXT PRIMARY KEY)")
        first = claim_of("db", schema)
        await first.acquire(connection, "1/2/public")
        await first.release(connection, "1/2/public")
        await connection.execute(
            f"INSERT INTO {schema}.groupcache_served VALUES ('{schema}.objects'::regclass, {CLAIMS[schema]})"
        )
        await asyncio.wait_for(claim_of("db", schema).acquire(connection, "1/2/public"), TIMEOUT)
        found = await connection.fetchrow(f"SELECT cluster, database FROM {schema}.groupcache_served")
        assert tuple(found) == ("1/2/public", "db"), schema


#: A claim that somebody keeps renewing, with content that no cluster has.
NONSENSE = (
    r"UPDATE groupcache_served SET cluster = E'a\nb' || repeat('c', 1000000), database = E'\x1b[2J',"
    " seen = clock_timestamp() + interval '200000 years'"
)


@pytest.mark.usefixtures("_quick")
async def test_a_claim_that_somebody_keeps_spoiling_is_refused_with_one_short_line(
    connection: asyncpg.Connection,  # noqa: F811
    database: str,
) -> None:
    first = claim_of("db")
    await first.acquire(connection, "1/2/public")
    async with connected(database) as other:
        await other.execute(NONSENSE)

        async def write() -> None:
            while True:
                await asyncio.sleep(0.01)
                await other.execute(NONSENSE)

        task = asyncio.ensure_future(write())
        try:
            message = await refused(connection, "1/2/public")
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert message.isprintable() and len(message) < 600
    assert "with the members table in the schema" in message
