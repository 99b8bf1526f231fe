"""What the add-on has made in the databases of a configuration, and how it is removed.

It is done past Guillotina: an application that starts would make again what is to go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import asyncpg
from guillotina.db.factory import _convert_dsn, _get_connection_options
from guillotina.utils import list_or_dict_items

from guillotina_groupcache.database import triggers
from guillotina_groupcache.database.connections import connect_to
from guillotina_groupcache.interfaces import GroupcacheError

#: For how long the removal waits for those who use a table, and makes others wait.
LOCK_TIMEOUT: Final = "2s"
#: Seconds without a sign of life after which a process is taken for gone: it gives one every 3 s.
SILENT_AFTER: Final = 10

#: Beside what notes outside writes (`triggers.uninstall`).
_TABLES: Final = ("groupcache_served", "groupcache_members", "groupcache_cluster")
_THERE: Final = """
SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relname = ANY($2) AND relkind IN ('r', 'p')
"""
_MEMBERS: Final = f"""
SELECT coalesce(nullif(address, ''), 'a client') || ' on ' || split_part(host, ' ', 1)
FROM {{schema}}.groupcache_members WHERE seen > now() - interval '{SILENT_AFTER} s' ORDER BY 1
"""
_SERVED: Final = f"""
SELECT 'one that serves ' || relation::regclass || ' as ' || database
FROM {{schema}}.groupcache_served WHERE seen > now() - interval '{SILENT_AFTER} s' ORDER BY 1
"""
_MADE: Final = r"""
SELECT 'trigger ' || tgname || ' on ' || tgrelid::regclass FROM pg_trigger
WHERE tgrelid IN (SELECT to_regclass(name) FROM unnest($2::text[]) name) AND tgname LIKE '%groupcache\_%'
UNION ALL
SELECT 'function ' || oid::regprocedure FROM pg_proc
WHERE pronamespace = to_regnamespace($1) AND proname LIKE 'groupcache\_%'
UNION ALL
SELECT 'table ' || oid::regclass FROM pg_class
WHERE relnamespace = to_regnamespace($1) AND relname LIKE 'groupcache\_%' AND relkind IN ('r', 'p')
"""


class Place(NamedTuple):
    """A schema of a database, in which one or more databases of Guillotina lie."""

    ids: tuple[str, ...]
    dsn: str
    options: dict[str, Any]  #: of a connection, as Guillotina's pool has them
    schema: str
    tables: tuple[str, ...]  #: objects tables, with their schema


def places(settings: Mapping[str, Any]) -> tuple[list[Place], list[str]]:
    """The places that the `databases` of Guillotina's settings name, and the ids of those that are no PostgreSQL."""
    found: dict[tuple[str, str], Place] = {}
    others = []
    for id_, config in list_or_dict_items(settings.get("databases") or {}):
        if config.get("storage") != "postgresql":
            others.append(str(id_))
            continue
        dsn = config["dsn"] if isinstance(config["dsn"], str) else _convert_dsn(config["dsn"])
        schema = config.get("db_schema", "public")
        table = f"{schema}.{config.get('objects_table_name', 'objects')}"
        place = found.get((dsn, schema)) or Place((), dsn, _get_connection_options(config), schema, ())
        found[dsn, schema] = place._replace(ids=(*place.ids, str(id_)), tables=(*place.tables, table))
    return list(found.values()), others


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a place's database. Raises `GroupcacheError`, also for what a statement of the block raises."""
    try:
        connection = await connect_to(place.dsn, place.options)
        try:
            yield connection
        finally:
            connection.terminate()
    except asyncpg.LockNotAvailableError:
        raise GroupcacheError(f"{_name(place)}: somebody uses the tables, as a dump does: try again later") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.TimeoutError) as error:
        raise GroupcacheError(f"{_name(place)}: {type(error).__name__}: {error}".partition("\n")[0]) from None


async def check(connection: asyncpg.Connection, place: Place) -> None:
    """Raise `GroupcacheError` where processes still use the cache, which names them."""
    living: list[str] = []
    there = await _there(connection, place)
    for table, statement in (("groupcache_members", _MEMBERS), ("groupcache_served", _SERVED)):
        if table in there and not living:
            living = [name for (name,) in await connection.fetch(statement.format(schema=place.schema))]
    if living:
        raise GroupcacheError(
            f"{_name(place)}: processes still use it: {', '.join(living)}: stop them, or switch them off, and try again"
            f" {SILENT_AFTER} s later"
        )


async def remove(connection: asyncpg.Connection, place: Place) -> list[str]:
    """Remove everything from a place, in one transaction, and tell what it was. Nothing there is no error.

    Raises as `check` does, and what the database raises.
    """
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        # A process that starts now waits, and makes what it needs again after that.
        for table in sorted(await _there(connection, place)):
            await connection.execute(f"LOCK TABLE {place.schema}.{table} IN ACCESS EXCLUSIVE MODE")
        await check(connection, place)
        before = await _made(connection, place)
        for statement in statements(place.schema, place.tables):
            await connection.execute(statement)
        after = await _made(connection, place)
    return [name for name in before if name not in after]


def statements(schema: str, tables: Iterable[str]) -> list[str]:
    """What removes everything from a schema in which objects tables lie: first the triggers, which use functions."""
    removing = [statement for table in tables for statement in triggers.uninstall(schema, table)]
    removing.sort(key=lambda statement: not statement.startswith("DROP TRIGGER"))
    return [*dict.fromkeys(removing), *(f"DROP TABLE IF EXISTS {schema}.{table}" for table in _TABLES)]


async def _there(connection: asyncpg.Connection, place: Place) -> set[str]:
    return {name for (name,) in await connection.fetch(_THERE, place.schema, list(_TABLES))}


async def _made(connection: asyncpg.Connection, place: Place) -> list[str]:
    return [name for (name,) in await connection.fetch(_MADE, place.schema, list(place.tables))]


def _name(place: Place) -> str:
    return ", ".join(place.ids)
