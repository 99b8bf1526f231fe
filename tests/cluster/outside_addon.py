"""A Guillotina add-on for the tests: an add-on's own SQL, from all places where add-ons send it."""

from __future__ import annotations

import functools
from typing import Any

import asyncpg
from guillotina import configure
from guillotina.interfaces import IResource
from guillotina.transactions import get_transaction

_service = functools.partial(configure.service, context=IResource, permission="guillotina.Manage", method="POST")


async def _execute(statement: str) -> str:
    """Send a statement over the transaction's connection, and return the database's answer."""
    answer: str = await (await get_transaction().get_connection()).execute(statement)
    return answer


async def _write(context: Any) -> None:
    """Send Guillotina's own write, a new title of the context, and do not send it again at the end."""
    transaction = get_transaction()
    context.title = "written"
    context.register()
    await transaction.tpc_commit()
    transaction.modified.clear()


@_service(name="@sql-without-transaction")
async def sql_without_transaction(context: Any, request: Any) -> None:
    """Send a statement that is committed by itself."""
    await _execute((await request.json())["statement"])


@_service(name="@sql-alone")
async def sql_alone(context: Any, request: Any) -> None:
    """Send it in a transaction in which Guillotina writes nothing."""
    transaction = get_transaction()
    await transaction.initialize_tid()
    await transaction.storage.start_transaction(transaction)
    await _execute((await request.json())["statement"])


@_service(name="@sql-before")
async def sql_before(context: Any, request: Any) -> None:
    """Send it before Guillotina's own write."""
    transaction = get_transaction()
    await transaction.storage.start_transaction(transaction)
    await _execute((await request.json())["statement"])
    context.title = "written"
    context.register()


@_service(name="@sql-after")
async def sql_after(context: Any, request: Any) -> None:
    """Send it after Guillotina's own write."""
    await _write(context)
    await _execute((await request.json())["statement"])


@_service(name="@sql-in-hook")
async def sql_in_hook(context: Any, request: Any) -> None:
    """Send it in a hook before the commit, when Guillotina has sent nothing yet."""
    transaction, statement = get_transaction(), (await request.json())["statement"]
    await transaction.storage.start_transaction(transaction)
    transaction.add_before_commit_hook(_execute, statement)
    context.title = "written"
    context.register()


@_service(name="@sql-in-savepoint")
async def sql_in_savepoint(context: Any, request: Any) -> None:
    """Send it in a savepoint, as asyncpg's nested transactions are."""
    await _write(context)
    connection = await get_transaction().get_connection()
    async with connection.transaction():
        await connection.execute((await request.json())["statement"])


@_service(name="@sql-beside-error")
async def sql_beside_error(context: Any, request: Any) -> None:
    """Send it before a savepoint in which a statement fails; the error is swallowed."""
    await _write(context)
    await _execute((await request.json())["statement"])
    connection = await get_transaction().get_connection()
    try:
        async with connection.transaction():
            await connection.execute("DELETE FROM objects WHERE zoid = $1", context.__uuid__)
            await connection.execute("SELECT 1 / 0")
    except asyncpg.DivisionByZeroError:
        pass


@_service(name="@sql-prepared")
async def sql_prepared(context: Any, request: Any) -> None:
    """Send it by a prepared statement and a cursor, instead of `execute`."""
    await _write(context)
    connection = await get_transaction().get_connection()
    prepared = await connection.prepare((await request.json())["statement"] + " RETURNING zoid")
    async for _ in prepared.cursor():
        pass


@_service(name="@sql-through-pool")
async def sql_through_pool(context: Any, request: Any) -> None:
    """Send it over a connection of the storage's pool, over which other transactions have written."""
    async with get_transaction().storage.pool.acquire() as connection:
        await connection.execute((await request.json())["statement"])


@_service(name="@sql-through-pool-in-transaction")
async def sql_through_pool_in_transaction(context: Any, request: Any) -> None:
    """Send it so in a transaction of its own, beside one in which Guillotina writes."""
    await _write(context)
    async with get_transaction().storage.pool.acquire() as connection, connection.transaction():
        await connection.execute((await request.json())["statement"])


@_service(name="@sql-given-up")
async def sql_given_up(context: Any, request: Any) -> None:
    """Send it in a savepoint that is rolled back: nothing of it is committed."""
    await _write(context)
    connection = await get_transaction().get_connection()
    savepoint = connection.transaction()
    await savepoint.start()
    await connection.execute((await request.json())["statement"])
    await savepoint.rollback()
