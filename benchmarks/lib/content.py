"""Content: one database with folders of items, of which every site gets a copy."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from contextlib import closing

import psycopg2
from guillotina.content import create_content_in_container
from guillotina.utils import navigate_to
from psycopg2 import sql

from benchmarks.lib import agent, sites
from harness.client import CONTAINER
from harness.local import wait_for
from harness.postgres_server import PostgresServer

#: Bytes of text in an item, whose pickle then has a kilobyte.
TEXT = 800

#: The databases that this process has created.
_made: list[str] = []

# An item's pickle holds neither its id nor its object id, so a row can be copied with others.
_MULTIPLY = """
INSERT INTO objects (zoid, tid, state_size, part, resource, of, otid, parent_id, id, type, json, state)
SELECT left(zoid, -32) || md5(zoid || n), tid, state_size, part, resource, of, otid, parent_id, n::text, type, json,
       state
FROM objects, generate_series(1, %s) AS n WHERE zoid = %s
"""


class Content:
    """A database with the container, folders in it, and in each folder items with the ids 0, 1, 2 and so on."""

    def __init__(self, postgres: PostgresServer, folders: Mapping[str, int], text: int = TEXT) -> None:
        """Create folders with so many items, each with `text` characters besides its other data."""
        self._postgres = postgres
        self._name = _new_name()
        dsn = postgres.create_database(self._name)
        with sites.uncached(dsn, 1) as site:
            first = sites.run(site[0], plant, folders=list(folders), text=text)
        with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
            for folder, oid in first.items():
                cursor.execute(_MULTIPLY, (folders[folder] - 1, oid))
        with closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE objects")

    def copy(self) -> str:
        """Create a database with this content, and return its URL."""
        name = _new_name()
        wait_for(lambda: self._copied(name), f"a copy of {self._name}")
        return self._postgres.dsn(name)

    def _copied(self, name: str) -> bool:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with closing(psycopg2.connect(self._postgres.dsn())) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                try:
                    cursor.execute(statement.format(sql.Identifier(name), sql.Identifier(self._name)))
                except psycopg2.errors.ObjectInUse:  # by a connection that is about to end
                    return False
        return True


def _new_name() -> str:
    _made.append(f"groupcache_{os.getpid()}_benchmark_{len(_made)}")
    return _made[-1]


def drop_all(postgres: PostgresServer) -> None:
    """Drop every database that this process has created."""
    for name in _made:
        postgres.drop_database(name)


async def plant(folders: list[str], text: int) -> dict[str, str]:
    """Inside of a node: create folders with one item each, and return the items' object ids by folder."""
    random.seed(text)
    manager = agent.transaction_manager()
    transaction = await manager.begin()
    with transaction:
        container = await navigate_to(await manager.get_root(txn=transaction), CONTAINER.rpartition("/")[2])
        planted = {}
        for name in folders:
            folder = await create_content_in_container(container, "Folder", name)
            item = await create_content_in_container(folder, "Item", "0", title="An item")
            item.text = random.randbytes((text + 1) // 2).hex()[:text]
            planted[name] = item.__uuid__
        await manager.commit(txn=transaction)
    return planted


async def oids(folder: str, count: int | None = None) -> list[str]:
    """Inside of a node: return the object ids of a folder's items, from the database, in an arbitrary fixed order."""
    rows = await agent.fetch(
        "SELECT i.zoid FROM objects i JOIN objects f ON f.zoid = i.parent_id"
        " WHERE f.id = $1 AND f.type = 'Folder' ORDER BY md5(i.zoid) LIMIT $2",
        folder,
        count,
    )
    return [row["zoid"] for row in rows]
