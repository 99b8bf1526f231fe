"""An object that stays where it is leaves its parent's lists cached; one that is deleted does not (R11)."""

from __future__ import annotations

from typing import Any

import pytest
from guillotina.const import TRASHED_ID
from guillotina.transactions import transaction

from guillotina_groupcache import keys
from guillotina_groupcache.constants import Source
from guillotina_groupcache.keys import Kind
from guillotina_groupcache.near_cache import KEEPS_LOADS_IN_ORDER
from tests.unit.life_app import DATABASE, App, add, object_key, running


async def lists(app: App, folder: str) -> list[tuple[Any, Source]]:
    """The ids and the number of a folder's children, and where they came from."""
    return [await app.utility.reads.get(keys.encode(DATABASE, kind, folder)) for kind in (Kind.KEYS, Kind.LEN)]


@pytest.mark.skipif(not KEEPS_LOADS_IN_ORDER, reason="only what is a near entry shows that an object stays")
@pytest.mark.parametrize("deleted", [False, True])
async def test_an_object_that_is_deleted_and_written_in_one_transaction(database: str, deleted: bool) -> None:
    """Guillotina writes it first, so that it is found where it was, and then deletes it."""
    async with running(database) as app:
        app.database.storage._autovacuum = False
        folder = await add(app, "folder", "Container")
        child = await add(app, "child", parent=folder)
        for _ in range(3):
            async with transaction(db=app.database, read_only=True, abort_when_done=True) as txn:
                await (await txn.get(folder)).async_get("child")
            before = await lists(app, folder)
        assert before == [(["child"], Source.OWN), (1, Source.OWN)]
        async with transaction(db=app.database) as txn:
            parent = await txn.get(folder)  # an object keeps its parent by a weak reference only
            content = await parent.async_get("child")
            if deleted:
                txn.delete(content)
            content.title = "new"
            txn.register(content)
            assert child in txn.modified and (child in txn.deleted) is deleted
        after = await lists(app, folder)
        if deleted:
            assert [value for value, _ in after] == [[], 0]
            row, _ = await app.utility.reads.get(object_key(child))
            assert row["parent_id"] == TRASHED_ID, "the state that was written before it was deleted is not pushed"
        else:
            assert after == before
