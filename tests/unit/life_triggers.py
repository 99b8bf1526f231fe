"""An objects table whose triggers note outside writes, and the notes in it."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
from guillotina.const import TRASHED_ID
from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache.database import triggers

MARK = triggers.mark("1/2/public", "it's \\ an id")
TABLE = "public.objects"
INSERT = "INSERT INTO objects (zoid, tid, state_size, part, resource, type, parent_id, id) VALUES "
#: The same as a note shows it: zoid, parent_id, id, of.
ROOT, FOLDER, ITEM = ["root", None, None, None], ["folder", "root", "f", None], ["item", "folder", "i", None]
EVERYTHING = None


async def make(connection: asyncpg.Connection) -> None:
    """An objects table as Guillotina makes it, with a root, a folder, an item in it and the trash."""
    await PostgresqlStorage()._create(connection)
    await connection.execute("CREATE SEQUENCE tid_sequence START 100")
    await connection.execute(
        INSERT + "('root', 1, 0, 0, true, 'Root', NULL, NULL), ('folder', 1, 0, 0, true, 'Folder', 'root', 'f'),"
        f" ('item', 1, 0, 0, true, 'Item', 'folder', 'i'), ('{TRASHED_ID}', 0, 0, 0, false, 'TRASH_REF', NULL, NULL)"
    )


async def read(connection: asyncpg.Connection) -> list[dict[str, Any]]:
    """Take the notes, which are deleted, in the order in which they were written."""
    rows = await connection.fetch("DELETE FROM groupcache_outside_writes RETURNING *")
    return [
        {**row, "places": row["places"] and sorted(json.loads(row["places"]), key=str)}
        for row in sorted(rows, key=lambda row: row["written"])
    ]


async def places(connection: asyncpg.Connection) -> list[Any]:
    return [note["places"] for note in await read(connection)]
