"""A Guillotina add-on for the benchmarks: it runs their functions inside of a node, on its event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from guillotina import configure
from guillotina.component import get_utility
from guillotina.interfaces import IApplication
from guillotina.utils import resolve_dotted_name

DATABASE = "db"


@configure.service(context=IApplication, name="@run", method="POST", permission="guillotina.Manage")
async def run(context: Any, request: Any) -> Any:
    """Await the coroutine function that the body names, with the arguments in it, and return its result."""
    body = await request.json()
    return await resolve_dotted_name(body["function"])(**body["arguments"])


def transaction_manager() -> Any:
    """Return the transaction manager of the node's database."""
    return get_utility(IApplication, name="root")[DATABASE].get_transaction_manager()


@asynccontextmanager
async def read_only() -> AsyncIterator[Any]:
    """Give a transaction that only reads, as that of a GET."""
    manager = transaction_manager()
    transaction = await manager.begin(read_only=True)
    try:
        with transaction:
            yield transaction
    finally:
        await manager.abort(txn=transaction)


async def fetch(statement: str, *arguments: Any) -> list[Any]:
    """Return rows from the database itself, without any cache."""
    async with transaction_manager().storage.pool.acquire() as connection:
        rows: list[Any] = await connection.fetch(statement, *arguments)
        return rows
