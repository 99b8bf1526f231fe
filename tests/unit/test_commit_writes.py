"""The keys of an event, and its pushes, where a transaction writes more, or less, than it registers (R8, R9, R11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest
from guillotina.annotations import AnnotationData
from guillotina.content import create_content_in_container
from guillotina.db.cache.dummy import DummyCache
from guillotina.db.interfaces import IWriter
from guillotina.db.transaction import Transaction
from guillotina.interfaces import IAnnotations
from guillotina.transactions import transaction

from guillotina_groupcache import keys, records
from guillotina_groupcache.answers import Answers, was_answered
from guillotina_groupcache.changes import Stored
from guillotina_groupcache.constants import Source
from guillotina_groupcache.keys import Kind
from tests.unit.life_app import DATABASE, TIMEOUT, App, add, running, set_title, title, uncached
from tests.unit.life_database import WAIT_IN_COMMIT, blocked, blocked_on_row, connected

ROOT = "0" * 32


@pytest.fixture
async def app(database: str) -> AsyncIterator[App]:
    async with running(database) as app:
        yield app


@asynccontextmanager
async def by_hand(app: App) -> AsyncIterator[Transaction]:
    """A transaction whose steps the block takes by itself; unless it commits, it is aborted at the end."""
    async with transaction(db=app.database, abort_when_done=True) as txn:
        yield txn


async def finish(txn: Transaction) -> None:
    """The steps of a commit after the last statement that writes."""
    await txn.tpc_vote()
    await txn.tpc_finish()


@asynccontextmanager
async def commit_waits(app: App, database: str, oid: str) -> AsyncIterator[tuple[Transaction, asyncio.Future[None]]]:
    """A change of an object whose COMMIT was sent, and does not end while the block runs."""
    async with connected(database) as holder:
        await holder.execute(WAIT_IN_COMMIT)
        await holder.execute("SELECT pg_advisory_lock(42)")
        async with by_hand(app) as txn:
            content = await txn.get(oid)
            content.title = "new"
            content.register()
            await txn.tpc_commit()
            commit = asyncio.ensure_future(finish(txn))
            await blocked(database)
            yield txn, commit


async def through_cache(app: App, kind: Kind, oid: str, name: str = "") -> Any:
    found, source = await app.utility.reads.get(keys.encode(DATABASE, kind, oid, name))
    assert source is not Source.NOWHERE
    return found


async def everything_loaded(app: App, *of: tuple[Kind, str, str]) -> None:
    """Read keys into memory, so that a key that is not bumped gives its old value."""
    for kind, oid, name in of:
        await through_cache(app, kind, oid, name)


# --- COMMIT that is answered with ROLLBACK


async def test_a_change_that_commit_rolled_back_is_not_served(app: App, caplog: pytest.LogCaptureFixture) -> None:
    """A statement fails after the last write, and the application goes on: Guillotina alone gives the old state."""
    oid = await add(app, "c", "Container")
    assert await title(app, oid) == "c"
    async with by_hand(app) as txn:
        content = await txn.get(oid)
        content.title = "never committed"
        content.register()
        await txn.tpc_commit()
        with suppress(asyncpg.DivisionByZeroError):
            await (await txn.get_connection()).execute("SELECT 1/0")
        await finish(txn)  # raises nothing
    assert await title(app, oid) == "c"
    async with uncached(app) as txn:
        assert (await txn.get(oid)).title == "c"
    assert app.utility.local_stats()["events"]["open"] == 0
    assert [text for text in caplog.messages if "answered COMMIT" in text and "with ROLLBACK" in text]
    await set_title(app, oid, "new")
    assert await title(app, oid) == "new"


# --- an event that the answer to ROLLBACK settles


@pytest.fixture
def no_query(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no query for open transactions is answered, so none settles an event."""

    async def never(database: object) -> list[str]:
        raise LookupError("not asked in this test")

    monkeypatch.setattr("guillotina_groupcache.database.queries.open_in", never)


@pytest.mark.usefixtures("no_query")
@pytest.mark.parametrize("error", [asyncpg.InterfaceError("another operation is in progress"), ConnectionError()])
async def test_a_commit_that_was_never_sent(app: App, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    oid = await add(app, "c", "Container")

    async def refused(self: object) -> None:
        raise error

    monkeypatch.setattr("asyncpg.transaction.Transaction.commit", refused)
    async with by_hand(app) as txn:
        content = await txn.get(oid)
        content.title = "new"
        content.register()
        await txn.tpc_commit()
        with pytest.raises(type(error)):
            await finish(txn)
        # before anything else is sent
        assert app.utility.local_stats()["events"]["open"] == 0
    monkeypatch.undo()
    assert await title(app, oid) == "c"


@pytest.mark.usefixtures("no_query")
async def test_a_commit_that_is_given_up_by_the_client(app: App, database: str) -> None:
    """COMMIT was sent, and cancelled: ROLLBACK is answered when it is over, whether it took effect or not."""
    oid = await add(app, "c", "Container")
    async with commit_waits(app, database, oid) as (txn, commit):
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        assert app.utility.local_stats()["events"]["open"] == 1
        await txn.abort()
        assert app.utility.local_stats()["events"]["open"] == 0
        assert await title(app, oid) == "c"


@pytest.mark.usefixtures("no_query")
async def test_a_rollback_that_is_not_answered_settles_nothing(app: App, database: str) -> None:
    """However often the pool is asked for it: COMMIT may still take effect."""
    oid = await add(app, "c", "Container")
    async with commit_waits(app, database, oid) as (txn, commit):
        txn._db_conn._con.terminate()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await commit
        answers = txn._db_txn._connection
        await txn.abort()
        for _ in range(2):
            await answers.settle(app.utility)
            assert app.utility.local_stats()["events"]["open"] == 1


async def test_a_connection_that_is_somebody_elses_is_left_alone(app: App) -> None:
    """Its ROLLBACK would be that of their transaction."""
    event = await app.utility.events.announce(DATABASE, [])
    async with app.database.storage.pool.acquire() as connection:
        answers = Answers(connection._con)
        answers.lost = event
        await answers.execute("COMMIT")
    async with answers.transaction():  # by the task that the pool has given it to
        await answers.settle(app.utility)
        assert answers.is_in_transaction()
        assert app.utility.local_stats()["events"]["open"] == 1


@pytest.mark.parametrize(("severity", "answered"), [("ERROR", True), ("FATAL", False), ("PANIC", False)])
def test_only_an_error_is_an_answer(severity: str, answered: bool) -> None:
    """After FATAL or PANIC in COMMIT recovery decides."""
    error = asyncpg.PostgresError.new({"S": "FEHLER", "V": severity, "C": "XX000", "M": "could not write"})
    assert was_answered(error) is answered


# --- an upsert over a row that is there


async def test_an_object_id_that_exists_elsewhere(app: App) -> None:
    """Importers do that: the row moves, so its old place and the lists that contained it change too."""
    one, other = await add(app, "one", "Folder"), await add(app, "other", "Folder")
    oid = await add(app, "was", parent=one)
    await everything_loaded(
        app,
        *((Kind.KEYS, one, ""), (Kind.LEN, one, ""), (Kind.KEYS, other, ""), (Kind.LEN, other, "")),
        *((Kind.CHILD, one, "was"), (Kind.CHILD, other, "is"), (Kind.OBJECT, oid, "")),
    )
    async with transaction(db=app.database) as txn:
        content = await create_content_in_container(
            await txn.get(other), "Item", "is", check_security=False, check_constraints=False, __uuid__=oid
        )
        assert content.__uuid__ == oid
    assert await through_cache(app, Kind.KEYS, one) == []
    assert await through_cache(app, Kind.LEN, one) == 0
    assert await through_cache(app, Kind.CHILD, one, "was") is records.ABSENT
    assert await through_cache(app, Kind.KEYS, other) == ["is"]
    assert await through_cache(app, Kind.LEN, other) == 1
    assert (await through_cache(app, Kind.OBJECT, oid))["id"] == "is"


@pytest.mark.parametrize("when", ["before the answer is seen", "after"])
async def test_an_object_id_that_another_transaction_takes_meanwhile(
    app: App, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one has looked, and there is no such row yet; it moves the row that the second one has inserted."""
    one, other = await add(app, "one", "Folder"), await add(app, "other", "Folder")
    oid, storage = "f" * 32, app.database.storage

    async def create(txn: Transaction, parent: str, id_: str) -> Any:
        return await create_content_in_container(
            await txn.get(parent), "Item", id_, check_security=False, check_constraints=False, __uuid__=oid
        )

    async def take() -> None:
        async with transaction(db=app.database) as second, second:
            await create(second, other, "second")
        assert await through_cache(app, Kind.KEYS, other) == ["second"]

    @asynccontextmanager
    async def taken_after(*arguments: Any) -> AsyncIterator[Any]:
        async with acquire(*arguments) as connection:
            yield connection
        monkeypatch.undo()
        await take()

    acquire = storage.acquire
    async with by_hand(app) as first:
        content = await create(first, one, "first")
        await first.initialize_tid()
        await storage.start_transaction(first)
        if when != "after":
            monkeypatch.setattr(storage, "acquire", taken_after)
        await first._cache.writes.look_up(storage, stored=Stored(oid, content, IWriter(content)))
        if when == "after":
            await take()
        with first:
            await first.tpc_commit()
            await finish(first)
    assert await through_cache(app, Kind.KEYS, other) == []
    assert await through_cache(app, Kind.CHILD, other, "second") is records.ABSENT
    assert await through_cache(app, Kind.KEYS, one) == ["first"]


async def test_a_deletion_of_an_object_that_was_moved_since_it_was_read(app: App) -> None:
    """Guillotina's deletion demands no `tid`: the row goes from where it is, not from where it was read."""
    app.database.storage._autovacuum = False
    one, other = await add(app, "one", "Folder"), await add(app, "other", "Folder")
    oid = await add(app, "i", parent=one)
    async with by_hand(app) as deleter:
        deleter.delete(await deleter.get_child(await deleter.get(one), "i"))
        async with transaction(db=app.database) as mover, mover:
            item = await mover.get_child(await mover.get(one), "i")
            item.__parent__ = await mover.get(other)
            item.register()
        await everything_loaded(app, (Kind.KEYS, other, ""), (Kind.LEN, other, ""), (Kind.CHILD, other, "i"))
        with deleter:
            await deleter.tpc_commit()
            await finish(deleter)
    assert await through_cache(app, Kind.KEYS, other) == []
    assert await through_cache(app, Kind.LEN, other) == 0
    assert await through_cache(app, Kind.CHILD, other, "i") is records.ABSENT
    assert (await through_cache(app, Kind.OBJECT, oid))["parent_id"] == "D" * 32


async def test_a_row_that_is_about_to_be_deleted_stays_where_it_was_found(app: App, database: str) -> None:
    """Between the look at its place and the deletion no transaction can move it."""
    app.database.storage._autovacuum = False
    one, other = await add(app, "one", "Folder"), await add(app, "other", "Folder")
    oid = await add(app, "i", parent=one)

    async def move() -> None:
        async with transaction(db=app.database) as mover, mover:
            item = await mover.get_child(await mover.get(one), "i")
            item.__parent__ = await mover.get(other)
            item.register()

    async with by_hand(app) as deleter:
        deleter.delete(await deleter.get_child(await deleter.get(one), "i"))
        await deleter.initialize_tid()
        await app.database.storage.start_transaction(deleter)
        await deleter._cache.writes.look_up(app.database.storage, deleted=oid)
        moving = asyncio.ensure_future(move())
        await blocked_on_row(database)
        with deleter:
            await deleter.tpc_commit()
            await finish(deleter)
        await asyncio.wait_for(moving, TIMEOUT)  # its UPDATE takes the row out of the trash
    async with uncached(app) as txn:
        for folder in (one, other):
            assert await through_cache(app, Kind.KEYS, folder) == await txn.keys(folder)
    assert (await through_cache(app, Kind.OBJECT, oid))["parent_id"] == other


async def test_an_object_that_is_written_under_another_object_id_than_its_own(app: App) -> None:
    """Guillotina writes under the id with which the object was registered."""
    oid = await add(app, "i")
    async with transaction(db=app.database) as txn:
        item = await txn.get_child(await txn.get(ROOT), "i")
        item.title = "new"
        item.register()
        item.__uuid__ = "f" * 32
    async with uncached(app) as txn:
        row = dict(await txn._get_child(await txn.get(ROOT), "i"))
    assert row["zoid"] == oid
    assert dict(await through_cache(app, Kind.CHILD, ROOT, "i")) == row
    assert dict(await through_cache(app, Kind.OBJECT, oid)) == row


async def test_a_transaction_with_another_cache_names_where_its_objects_were(app: App) -> None:
    one, other = await add(app, "one", "Folder"), await add(app, "other", "Folder")
    await add(app, "i", parent=one)
    await everything_loaded(app, (Kind.KEYS, one, ""), (Kind.KEYS, other, ""), (Kind.CHILD, one, "i"))
    txn = Transaction(app.database.get_transaction_manager(), cache=DummyCache(None))
    with txn:
        item = await txn.get_child(await txn.get(one), "i")
        item.__parent__ = await txn.get(other)
        item.register()
        await txn.commit()
        await txn.manager._close_txn(txn)
    assert await through_cache(app, Kind.KEYS, one) == []
    assert await through_cache(app, Kind.KEYS, other) == ["i"]
    assert await through_cache(app, Kind.CHILD, one, "i") is records.ABSENT


@pytest.mark.parametrize("ending", ["commit", "abort"])
async def test_a_transaction_object_that_is_used_again_with_another_cache(app: App, ending: str) -> None:
    """Guillotina uses its transaction objects again: what one wrote earlier does not say where rows are now."""
    folders = [await add(app, name, "Folder") for name in ("one", "two", "three")]
    await add(app, "i", parent=folders[0])
    one, two, three = folders
    txn, mover = (Transaction(app.database.get_transaction_manager(), cache=DummyCache(None)) for _ in range(2))

    async def move(txn: Transaction, came_from: str, to: str) -> None:
        item = await txn.get_child(await txn.get(came_from), "i")
        item.__parent__ = await txn.get(to)
        item.register()
        await txn.tpc_commit()

    with txn:
        await move(txn, one, two)
        await (finish(txn) if ending == "commit" else txn.abort())
        await txn.manager._close_txn(txn)
    if ending == "abort":
        with mover:
            await move(mover, one, two)
            await finish(mover)
            await mover.manager._close_txn(mover)
    await everything_loaded(app, *((Kind.KEYS, folder, "") for folder in folders), (Kind.CHILD, two, "i"))
    txn.initialize(False, cache=DummyCache(None))
    with txn:
        await move(txn, two, three)
        await finish(txn)
        await txn.manager._close_txn(txn)
    assert [await through_cache(app, Kind.KEYS, folder) for folder in folders] == [[], [], ["i"]]
    assert await through_cache(app, Kind.CHILD, two, "i") is records.ABSENT


# --- annotations


async def test_an_annotation_that_has_a_parent_too(app: App) -> None:
    """Its row is one of the parent's children as well."""
    folder = await add(app, "f", "Folder")
    await everything_loaded(
        app,
        *((Kind.KEYS, folder, ""), (Kind.LEN, folder, ""), (Kind.CHILD, folder, "notes")),
        *((Kind.ANNOTATION_KEYS, folder, ""), (Kind.ANNOTATION, folder, "notes")),
    )
    async with transaction(db=app.database) as txn:
        container = await txn.get(folder)
        notes = AnnotationData()
        notes.__parent__ = container
        notes["text"] = "hello"
        await IAnnotations(container).async_set("notes", notes)
    assert await through_cache(app, Kind.LEN, folder) == 1
    assert await through_cache(app, Kind.KEYS, folder) == ["notes"]
    assert await through_cache(app, Kind.ANNOTATION_KEYS, folder) == ["notes"]
    row = await through_cache(app, Kind.ANNOTATION, folder, "notes")
    assert await through_cache(app, Kind.CHILD, folder, "notes") == row


# --- no hidden deadlock, and no wait for the pool


async def test_ddl_that_waits_for_a_commit_does_not_stop_it(app: App, database: str) -> None:
    """DDL waits for the transaction's lock, and every other connection for DDL: the commit must need none."""
    oid = await add(app, "c", "Container")
    async with connected(database) as ddl, by_hand(app) as txn:
        content = await txn.get(oid)
        txn._cache.seen.clear()  # so that it is not known where the object was
        content.title = "new"
        content.register()
        await txn.tpc_commit()
        waiting = asyncio.ensure_future(ddl.execute("ALTER TABLE objects ADD COLUMN more TEXT"))
        await blocked(database)
        await asyncio.wait_for(finish(txn), TIMEOUT)
        await asyncio.wait_for(waiting, TIMEOUT)
    assert await title(app, oid) == "new"


async def test_a_transaction_with_the_only_connection_of_the_pool_does_not_wait_for_it(database: str) -> None:
    async with running(database, pool_size=1) as app:
        folder = await add(app, "f", "Folder")
        await add(app, "i", parent=folder)
        await app.utility.clear()
        app.database.storage._conn_acquire_timeout = 10 * TIMEOUT

        async def read(txn: Transaction) -> None:
            container = await txn.get(folder)
            assert (await txn.get_child(container, "i")).title == "i"
            assert [child.title async for child in txn.get_children(container, ["i"])] == ["i"]
            assert await txn.get_page_of_keys(folder) == ["i"]

        async with by_hand(app) as txn:
            await txn.get_connection()
            await asyncio.wait_for(read(txn), TIMEOUT)


async def test_a_transaction_of_the_applications_own_sees_its_own_rows(app: App) -> None:
    """Guillotina reads over the reserved connection, which sees what was written over it by hand."""
    oid = await add(app, "i")
    assert await title(app, oid) == "i"
    async with by_hand(app) as txn:
        connection = await txn.get_connection()
        own = connection.transaction()
        await own.start()
        await connection.execute("UPDATE objects SET type = 'Other' WHERE zoid = $1", oid)
        assert (await txn._get(oid))["type"] == "Other"
        assert (await txn._get_child(await txn.get(ROOT), "i"))["type"] == "Other"
        await own.rollback()
        assert (await txn._get(oid))["type"] == "Item"
