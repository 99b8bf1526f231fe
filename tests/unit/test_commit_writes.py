"""The keys of an event where a transaction writes more, or less, than it registers (R11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from guillotina.annotations import AnnotationData
from guillotina.content import create_content_in_container
from guillotina.db.cache.dummy import DummyCache
from guillotina.db.interfaces import IWriter
from guillotina.db.transaction import Transaction
from guillotina.interfaces import IAnnotations
from guillotina.transactions import transaction

from guillotina_groupcache import records
from guillotina_groupcache.changes import Stored
from guillotina_groupcache.keys import Kind
from tests.unit.life_app import TIMEOUT, App, add, uncached
from tests.unit.life_commit import ROOT, by_hand, everything_loaded, finish, through_cache
from tests.unit.life_database import blocked_on_row

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
