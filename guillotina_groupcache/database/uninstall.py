"""Removes what the add-on has made in the databases of a configuration.

This does not start the application, which would make again what is to be removed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import asyncpg
from guillotina.db.factory import _convert_dsn, _get_connection_options
from guillotina.utils import list_or_dict_items

from guillotina_groupcache.database import triggers
from guillotina_groupcache.database.connections import ERRORS, connect_to
from guillotina_groupcache.interfaces import GroupcacheError

#: How long the removal waits for those who use a table, and makes others wait.
LOCK_TIMEOUT: Final = "2s"
#: Seconds without a heartbeat after which a process is taken for ended: it sends one every 3 s.
OVERDUE_AFTER: Final = 10

#: The tables, except that of the notes (`triggers.uninstall`).
_TABLES: Final = ("groupcache_served", "groupcache_members", "groupcache_cluster")
_EXISTING: Final = """
SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relname = ANY($2) AND relkind IN ('r', 'p')
"""
_MEMBERS: Final = f"""
SELECT coalesce(nullif(address, ''), 'a client') || ' on ' || split_part(host, ' ', 1)
FROM {{schema}}.groupcache_members WHERE seen > now() - interval '{OVERDUE_AFTER} s' ORDER BY 1
"""
_SERVED: Final = f"""
SELECT 'one that serves ' || relation::regclass || ' as ' || database
FROM {{schema}}.groupcache_served WHERE seen > now() - interval '{OVERDUE_AFTER} s' ORDER BY 1
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


class Schema(NamedTuple):
    """A schema of a PostgreSQL database in which one or more of Guillotina's databases lie."""

    ids: tuple[str, ...]  #: of Guillotina's databases
    dsn: str
    options: dict[str, Any]  #: of a connection, as Guillotina's pool has them
    name: str
    tables: tuple[str, ...]  #: objects tables, with their schema


def schemas(settings: Mapping[str, Any]) -> tuple[list[Schema], list[str]]:
    """The schemas that the `databases` of Guillotina's settings name, and the ids of those that are not PostgreSQL."""
    found: dict[tuple[str, str], Schema] = {}
    others = []
    for id_, config in list_or_dict_items(settings.get("databases") or {}):
        if config.get("storage") != "postgresql":
            others.append(str(id_))
            continue
        dsn = config["dsn"] if isinstance(config["dsn"], str) else _convert_dsn(config["dsn"])
        name = config.get("db_schema", "public")
        table = f"{name}.{config.get('objects_table_name', 'objects')}"
        schema = found.get((dsn, name)) or Schema((), dsn, _get_connection_options(config), name, ())
        found[dsn, name] = schema._replace(ids=(*schema.ids, str(id_)), tables=(*schema.tables, table))
    return list(found.values()), others


@asynccontextmanager
async def opened(schema: Schema) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a schema's database. What it, or a statement of the block, raises becomes a `GroupcacheError`."""
    try:
        connection = await connect_to(schema.dsn, schema.options)
        try:
            yield connection
        finally:
            connection.terminate()
    except asyncpg.LockNotAvailableError:
        raise GroupcacheError(f"{_ids(schema)}: somebody uses the tables, as a dump does: try again later") from None
    except ERRORS as error:
        raise GroupcacheError(f"{_ids(schema)}: {type(error).__name__}: {error}".partition("\n")[0]) from None


async def check(connection: asyncpg.Connection, schema: Schema) -> None:
    """Raise `GroupcacheError`, which names them, where processes still use the cache."""
    living: list[str] = []
    existing = await _existing(connection, schema)
    for table, statement in (("groupcache_members", _MEMBERS), ("groupcache_served", _SERVED)):
        if table in existing and not living:
            living = [name for (name,) in await connection.fetch(statement.format(schema=schema.name))]
    if living:
        raise GroupcacheError(
            f"{_ids(schema)}: processes still use it: {', '.join(living)}: stop them, or switch them off, and try again"
            f" {OVERDUE_AFTER} s later"
        )


async def remove(connection: asyncpg.Connection, schema: Schema) -> list[str]:
    """Remove everything from a schema, in one transaction. Returns the names of what was removed, if anything.

    Raises as `check` does, and what the database raises.
    """
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        # A process that starts now waits, and makes what it needs again after that.
        for table in sorted(await _existing(connection, schema)):
            await connection.execute(f"LOCK TABLE {schema.name}.{table} IN ACCESS EXCLUSIVE MODE")
        await check(connection, schema)
        before = await _made(connection, schema)
        for statement in statements(schema.name, schema.tables):
            await connection.execute(statement)
        after = await _made(connection, schema)
    return [name for name in before if name not in after]


def statements(schema: str, tables: Iterable[str]) -> list[str]:
    """The statements that remove everything from a schema: first the triggers of its objects tables, then functions."""
    removing = [statement for table in tables for statement in triggers.uninstall(schema, table)]
    removing.sort(key=lambda statement: not statement.startswith("DROP TRIGGER"))
    return [*dict.fromkeys(removing), *(f"DROP TABLE IF EXISTS {schema}.{table}" for table in _TABLES)]


async def _existing(connection: asyncpg.Connection, schema: Schema) -> set[str]:
    return {name for (name,) in await connection.fetch(_EXISTING, schema.name, list(_TABLES))}


async def _made(connection: asyncpg.Connection, schema: Schema) -> list[str]:
    return [name for (name,) in await connection.fetch(_MADE, schema.name, list(schema.tables))]


def _ids(schema: Schema) -> str:
    return ", ".join(schema.ids)
