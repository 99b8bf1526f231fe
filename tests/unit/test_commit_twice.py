"""A transaction that stores an object more than once, as one does whose application calls `tpc_commit` by itself."""

from __future__ import annotations

import pytest
from guillotina.transactions import transaction

from guillotina_groupcache import keys, records
from guillotina_groupcache.keys import Kind
from tests.unit.life_app import DATABASE, App, add, title


async def test_a_push_is_of_the_last_state_or_of_none(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state that was written first is never pushed, even where the last one is too large to be pushed."""
    oid = await add(app, "i")
    monkeypatch.setattr("guillotina_groupcache.changes.MAX_PUSHED", 2000)
    last = "last" * 1000
    async with transaction(db=app.database, abort_when_done=True) as txn:
        item = await txn.get(oid)
        for written in ("first", last):
            item.title = written
            item.register()
            await txn.tpc_commit()
        await txn.tpc_vote()
        await txn.tpc_finish()
    assert await title(app, oid) == last


async def test_an_object_that_is_changed_and_then_moved(app: App) -> None:
    """That it stayed where it was when it was stored first does not say where it ends."""
    one, other = await add(app, "one", "Folder"), await add(app, "other", "Folder")
    await add(app, "i", parent=one)

    async def found(kind: Kind, oid: str, name: str = "") -> object:
        return (await app.utility.reads.get(keys.encode(DATABASE, kind, oid, name)))[0]

    assert [await found(Kind.KEYS, folder) for folder in (one, other)] == [["i"], []]
    assert [await found(Kind.LEN, folder) for folder in (one, other)] == [1, 0]
    async with transaction(db=app.database, abort_when_done=True) as txn:
        item = await txn.get_child(await txn.get(one), "i")
        item.title = "new"
        item.register()
        await txn.tpc_commit()
        item.__parent__ = await txn.get(other)
        item.register()
        await txn.tpc_commit()
        await txn.tpc_vote()
        await txn.tpc_finish()
    assert [await found(Kind.KEYS, folder) for folder in (one, other)] == [[], ["i"]]
    assert [await found(Kind.LEN, folder) for folder in (one, other)] == [0, 1]
    assert await found(Kind.CHILD, one, "i") is records.ABSENT
