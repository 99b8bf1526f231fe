"""Notes of outside writes as views read them, on a real database, and the triggers that are made for them (R14)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from guillotina_groupcache import keys
from guillotina_groupcache.database import notes_table, triggers
from guillotina_groupcache.keys import Kind
from tests.unit import life_members
from tests.unit.life_database import connected
from tests.unit.life_triggers import INSERT, make

TIMEOUT = 30.0
CHANGE = "UPDATE objects SET state = gen_random_uuid()::text::bytea WHERE zoid = 'item'"


class Process(life_members.Process):
    """A process of a cluster over one database, or over two."""

    async def shown(self, word: int = 0) -> list[int]:
        """The ids of the notes that go to the library with a view; none where the view does not name the database."""
        return [id_ for found in (await self.view())["reached"] if found["word"] == word for id_ in found["outside"]]

    async def until_shown(self, condition: Callable[[list[int]], bool], word: int = 0) -> list[int]:
        """What a view shows as soon as a condition holds. Raises `TimeoutError`."""
        deadline = time.monotonic() + TIMEOUT
        while not condition(shown := await self.shown(word)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the view shows {shown}")
            await asyncio.sleep(0.05)
        return shown

    @property
    def changed(self) -> list[tuple[set[bytes], bool]]:
        """The keys that the library was notified of, note by note, and whether everything has changed."""
        return [(set(changed), everything) for _, _, changed, everything, _, _ in self.notes]


@asynccontextmanager
async def process(incarnation: int, dsn: str, far: str = "", **settings: str) -> AsyncIterator[Process]:
    storages = {"db": life_members.storage_of(dsn, **settings)} | (
        {"far": life_members.storage_of(far, **settings)} if far else {}
    )
    process = Process(incarnation, storages)
    await process.members.create("db", True)
    process.members.start()
    try:
        yield process
    finally:
        await process.members.stop()


@pytest.fixture
async def outsider(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with objects, which no process knows of."""
    async with connected(database) as connection:
        await make(connection)
        yield connection


async def test_a_note_goes_to_the_library_once_and_its_id_with_every_view(
    outsider: asyncpg.Connection, database: str
) -> None:
    async with process(1, database) as one, process(2, database) as other:
        (installed,) = await one.until_shown(lambda shown: len(shown) == 1)
        assert one.changed == [(set(), True)], "nobody knows what was written before the triggers were there"
        await outsider.execute(CHANGE)
        shown = await one.shown()
        assert len(shown) == 2 and installed in shown and await one.shown() == shown
        encode = keys.encode
        assert one.changed[1:] == [
            (
                {
                    encode("db", Kind.OBJECT, "item"),
                    encode("db", Kind.CHILD, "folder", "i"),
                    encode("db", Kind.KEYS, "folder"),
                    encode("db", Kind.LEN, "folder"),
                },
                False,
            )
        ]
        assert await other.shown() == shown
        assert {note[:2] for note in one.notes} == {note[:2] for note in other.notes}, "ids and nonces are the same"
        assert all(nonce and nonce % 2 == 0 for _, nonce, *_ in one.notes)
        await one.ask(op="forget_outside", word=0, outside=[installed])
        assert await one.shown() == [id_ for id_ in shown if id_ != installed]
        with_error = await one.ask(op="forget_outside", word=7, outside=[])
        assert "no database" in with_error["error"]


async def test_what_a_member_has_applied_is_in_its_row_until_it_joins_again(database: str) -> None:
    async with process(1, database) as one:
        await one.ask(op="post", incarnation=1)

        async def applied() -> list[int]:
            (row,) = (await one.view())["rows"]
            ids: list[int] = row["applied"]
            return ids

        await one.ask(op="applied", incarnation=1, outside=[5])
        assert await applied() == [], "a joiner has no versions to which it could be applied"
        await one.ask(op="enter", incarnation=1)
        await one.ask(op="applied", incarnation=1, outside=[5, 2**59])
        assert await applied() == [5, 2**59]
        await one.ask(op="post", incarnation=1)
        assert await applied() == [], "it takes a copy that may lack it"


async def test_a_database_on_its_own_has_notes_of_its_own(
    outsider: asyncpg.Connection, database: str, postgres
) -> None:  # type: ignore[no-untyped-def]
    far = postgres.create_database(f"{database.rpartition('/')[2]}_far")
    try:
        async with connected(far) as elsewhere, process(1, database, far) as one:
            await make(elsewhere)
            await one.until_shown(lambda shown: len(shown) == 1, 1)
            await elsewhere.execute(CHANGE)
            shown = await one.until_shown(lambda shown: len(shown) == 2, 1)
            assert keys.encode("far", Kind.OBJECT, "item") in one.changed[-1][0]
            await one.ask(op="forget_outside", word=1, outside=shown)
            assert await one.until_shown(lambda shown: not shown, 1) == []
    finally:
        postgres.drop_database(far.rpartition("/")[2])


async def test_triggers_are_made_when_nobody_uses_the_table(
    outsider: asyncpg.Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "guillotina_groupcache")
    async with process(1, database) as one, connected(database) as writer:
        async with writer.transaction():
            await writer.execute(CHANGE)
            for _ in range(5):
                await asyncio.sleep(0.3)
                assert await one.shown() == [], "views go on"
                await outsider.execute(CHANGE.replace("'item'", "'folder'"))  # and so do writers
        await one.until_shown(lambda shown: len(shown) == 1)
        assert one.changed == [(set(), True)]
    logged = [record.getMessage() for record in caplog.records if record.name == "guillotina_groupcache"]
    assert len([line for line in logged if "cannot be made yet" in line]) == 1
    assert len([line for line in logged if "notes what is written from outside" in line]) == 1


async def test_without_the_right_to_make_triggers_everything_is_as_it_was(
    outsider: asyncpg.Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    await outsider.execute(
        "DROP ROLE IF EXISTS groupcache_guest; CREATE ROLE groupcache_guest;"
        "GRANT ALL ON SCHEMA public TO groupcache_guest; GRANT SELECT, UPDATE ON objects TO groupcache_guest"
    )
    try:
        async with process(1, database, role="groupcache_guest") as one:
            deadline = time.monotonic() + TIMEOUT
            while not caplog.records and time.monotonic() < deadline:
                assert await one.shown() == []
            for _ in range(3):
                assert await one.shown() == []
        (warning,) = [record.getMessage() for record in caplog.records if record.name == "guillotina_groupcache"]
        assert "must be owner" in warning or "permission denied" in warning
    finally:
        await outsider.execute("DROP OWNED BY groupcache_guest; DROP ROLE groupcache_guest")


async def test_notes_that_may_not_be_read_do_not_end_the_views(
    outsider: asyncpg.Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    await triggers.install(outsider, "public", "public.objects", triggers.mark("somebody", "else"))
    await outsider.execute(
        "DROP ROLE IF EXISTS groupcache_reader; CREATE ROLE groupcache_reader;"
        "GRANT ALL ON SCHEMA public TO groupcache_reader"
    )
    try:
        async with process(1, database, role="groupcache_reader") as one:
            assert await one.shown() == []
            assert await one.shown() == []
        assert "permission denied" in caplog.text
    finally:
        await outsider.execute("DROP OWNED BY groupcache_reader; DROP ROLE groupcache_reader")


async def test_notes_that_have_gone_come_again(outsider: asyncpg.Connection, database: str) -> None:
    async with process(1, database) as one:
        await one.until_shown(lambda shown: len(shown) == 1)
        for damage in ("DROP TABLE groupcache_outside_writes", "DROP TRIGGER groupcache_insert ON objects"):
            before = len(one.notes)
            await outsider.execute(damage)
            await one.until_shown(lambda shown, before=before: len(one.notes) == before + 2)  # type: ignore[misc]
            assert one.changed[-1] == (set(), True)
            await outsider.execute(INSERT + f"('new{before}', 1, 0, 0, true, 'Item', 'root', 'n{before}')")
            await one.shown()
            assert keys.encode("db", Kind.OBJECT, f"new{before}") in one.changed[-1][0]


@pytest.mark.parametrize(
    "statement", ["ALTER TABLE objects ALTER COLUMN state TYPE bytea USING ''::bytea", "VACUUM FULL objects"]
)
async def test_rows_that_are_rewritten_are_everything(
    outsider: asyncpg.Connection, database: str, statement: str
) -> None:
    async with process(1, database) as one, process(2, database) as other:
        await one.until_shown(lambda shown: len(shown) == 1)
        await other.until_shown(lambda shown: len(shown) == 1)
        await outsider.execute(statement)
        shown = await one.shown()
        assert len(shown) == 2 and one.changed[-1] == (set(), True), "with the first view after it"
        assert await other.shown() == shown, "all write the same note"
        await one.ask(op="forget_outside", word=0, outside=shown)
        assert await one.shown() == [] == await other.shown(), "once"


async def test_too_many_notes_are_summed_up_before_they_are_read(outsider: asyncpg.Connection, database: str) -> None:
    await triggers.install(outsider, "public", "public.objects", triggers.mark("nobody", "db"))
    await outsider.execute(
        "INSERT INTO groupcache_outside_writes (id, relation, xact, written, application, rows, places)"
        " SELECT s, 'objects'::regclass, 0, now(), '', 1, '[]' FROM generate_series(1, $1::int) AS s",
        notes_table.MAX_READ + 1,
    )
    async with process(1, database) as one:
        (shown,) = await one.shown()
        assert one.changed == [(set(), True)] and shown > notes_table.MAX_READ


@pytest.mark.parametrize("apart", [False, True])
async def test_triggers_that_were_changed_and_are_right_again_are_everything(
    outsider: asyncpg.Connection, database: str, apart: bool
) -> None:
    """A user who enables them again as they were leaves no trace except in the rows that describe them."""
    off = "ALTER TABLE objects DISABLE TRIGGER groupcache_update"
    on = "ALTER TABLE objects ENABLE ALWAYS TRIGGER groupcache_update"
    async with process(1, database) as one, process(2, database) as other:
        await one.until_shown(lambda shown: len(shown) == 1)
        await other.until_shown(lambda shown: len(shown) == 1)
        if apart:
            for statement in (off, CHANGE, on):
                await outsider.execute(statement)
        else:
            await outsider.execute(f"BEGIN; {off}; {CHANGE}; {on}; COMMIT")
        shown = await one.shown()
        assert len(shown) == 2 and one.changed[-1] == (set(), True)
        assert await other.shown() == shown, "all write the same note"


async def test_nothing_is_served_while_triggers_that_were_right_are_not(
    outsider: asyncpg.Connection, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "guillotina_groupcache")
    async with process(1, database) as one, connected(database) as writer:
        await one.until_shown(lambda shown: len(shown) == 1)
        assert await one.reached() == {0: 0}
        async with writer.transaction():
            await writer.execute("ALTER TABLE objects DISABLE TRIGGER USER")
            await writer.execute("ALTER TABLE objects ENABLE TRIGGER USER")
        async with writer.transaction():
            await writer.execute(CHANGE)  # so the triggers cannot be made
            for _ in range(3):
                assert await one.reached() == {}
        await one.until(lambda reached: reached == {0: 0}, "the triggers to be right again")
        assert one.changed[-1] == (set(), True)
    logged = [record.getMessage() for record in caplog.records if record.name == "guillotina_groupcache"]
    assert len([line for line in logged if "somebody has changed the triggers" in line]) == 1


async def test_a_table_that_has_no_name_for_a_moment_ends_no_view(outsider: asyncpg.Connection, database: str) -> None:
    async with process(1, database) as one:
        await one.until_shown(lambda shown: len(shown) == 1)
        await outsider.execute("ALTER TABLE objects RENAME TO away")
        assert "error" not in await one.ask(op="take_view", asked=0)
        await outsider.execute("ALTER TABLE away RENAME TO objects")
        assert len(await one.until_shown(lambda shown: len(shown) == 1)) == 1, "and nothing is noted for it"
