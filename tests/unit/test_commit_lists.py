"""A change of an object bumps the lists that name it only where it may have moved (R11)."""

from __future__ import annotations

from guillotina.annotations import AnnotationData
from guillotina.interfaces import IAnnotations
from guillotina.transactions import transaction

from guillotina_groupcache import keys
from guillotina_groupcache.constants import Source
from guillotina_groupcache.keys import Kind
from tests.unit.life_app import DATABASE, App, add, title


async def children(app: App, oid: str) -> tuple[int, list[str]]:
    """The lists of an object's children, read through the cache."""
    async with transaction(db=app.database, read_only=True, abort_when_done=True) as txn:
        return await txn.len(oid), sorted(await txn.keys(oid))


async def test_a_change_leaves_the_lists_of_the_parent(app: App) -> None:
    folder = await add(app, "f", "Folder")
    oid = await add(app, "i", parent=folder)
    assert await children(app, folder) == (1, ["i"])
    async with transaction(db=app.database) as txn:
        item = await txn.get_child(await txn.get(folder), "i")
        item.title = "new"
        item.register()
    for kind in (Kind.LEN, Kind.KEYS):
        _, found = await app.utility.reads.get(keys.encode(DATABASE, kind, folder))
        assert found is Source.OWN
    assert await title(app, oid) == "new"


async def test_a_change_of_an_annotation_leaves_the_list_of_annotations(app: App) -> None:
    oid = await add(app, "i")
    for value in (1, 2):
        async with transaction(db=app.database) as txn:
            annotations = IAnnotations(await txn.get_child(await txn.manager.get_root(), "i"))
            data = await annotations.async_get("notes")
            if data is None:
                await annotations.async_set("notes", data := AnnotationData())
            data["value"] = value
            data.register()
        async with transaction(db=app.database, read_only=True, abort_when_done=True) as txn:
            assert await txn.get_annotation_keys(oid) == ["notes"]
            data = await IAnnotations(await txn.get(oid)).async_get("notes")
            assert data["value"] == value
        _, found = await app.utility.reads.get(keys.encode(DATABASE, Kind.ANNOTATION_KEYS, oid))
        assert found is Source.OWN
    stored = app.utility.local_stats()["local_loads"]
    async with transaction(db=app.database) as txn:
        data = await IAnnotations(await txn.get_child(await txn.manager.get_root(), "i")).async_get("notes")
        data["value"] = 3
        data.register()
    _, found = await app.utility.reads.get(keys.encode(DATABASE, Kind.ANNOTATION_KEYS, oid))
    assert found is Source.OWN
    assert app.utility.local_stats()["local_loads"] == stored


async def test_a_change_of_an_object_that_is_deleted_meanwhile_bumps_the_lists(app: App) -> None:
    """Guillotina's deletion leaves the row with its tid until the vacuum comes, and a write puts it back."""
    app.database.storage._autovacuum = False
    folder = await add(app, "f", "Folder")
    oid = await add(app, "i", parent=folder)
    assert await title(app, oid) == "i"
    async with transaction(db=app.database) as writer:
        item = await writer.get_child(await writer.get(folder), "i")
        async with transaction(db=app.database) as deleter, deleter:
            deleter.delete(await deleter.get_child(await deleter.get(folder), "i"))
        assert await children(app, folder) == (0, [])
        item.title = "back"
        item.__txn__ = writer
        item.register()
    assert await children(app, folder) == (1, ["i"])
    assert await title(app, oid) == "back"
