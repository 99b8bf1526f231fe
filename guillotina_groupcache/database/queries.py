"""The database queries of the library, a function each (R2, R5, R6, R7, R13, R14).

The state machine in the library decides what to ask; go/internal/bridge describes the fields of queries and answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, NamedTuple

from guillotina_groupcache.database import members_table as sql
from guillotina_groupcache.database.connections import ERRORS, TIMEOUT
from guillotina_groupcache.database.databases import Database, Databases
from guillotina_groupcache.database.members_table import MembersTable
from guillotina_groupcache.database.notes_table import FORGET
from guillotina_groupcache.database.views import OVERDUE_AFTER, Answer, Views

Query = dict[str, Any]


class Unfinished(NamedTuple):
    """An answer that still lacks what is open in databases elsewhere.

    The queries behind do not wait for that: a server may be dead.
    """

    answer: Answer
    elsewhere: list[Database]

    async def finish(self) -> Answer:
        """The whole answer. Raises what a database raises that does not answer."""
        for transactions in await asyncio.gather(*map(open_in, self.elsewhere)):
            self.answer["open"] += transactions
        return self.answer


class Queries:
    """What the queries of one process work on."""

    def __init__(self, table: MembersTable, databases: Databases) -> None:
        self.table = table
        self.databases = databases
        self.views = Views(table, databases)
        #: Work beside the queries, for databases elsewhere.
        self.tasks: set[asyncio.Task[None]] = set()

    async def execute(self, query: Query) -> Answer | Unfinished:
        """Execute a query. Raises what the database raises, and `LookupError` where it has to be tried again."""
        return await _FUNCTIONS[query["op"]](self, query)

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something while other queries are executed."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


async def _take_view(on: Queries, query: Query) -> Answer:
    return await on.views.take(query["asked"])


async def _post(on: Queries, query: Query) -> Answer:
    on.views.incarnation = query["incarnation"]
    async with on.table.transaction():
        await on.table.fetch(sql.LOCK)
        await on.table.fetch(sql.POST, query["incarnation"], query.get("address", ""), query.get("host", ""))
    return {}


async def _elect(on: Queries, query: Query) -> Answer | Unfinished:
    async with on.table.transaction():
        await on.table.fetch(sql.LOCK)
        won = await on.table.fetch(sql.ELECT, query["incarnation"])
    return await _open(on, [*on.databases], {"done": True}) if won else {"done": False, "open": []}


async def _enter(on: Queries, query: Query) -> Answer:
    return {"done": bool(await on.table.fetch(sql.ENTER, query["incarnation"]))}


async def _mark_out(on: Queries, query: Query) -> Answer:
    if query.get("overdue"):
        await on.table.fetch(sql.MARK_OUT_OVERDUE, query["incarnation"], query["reason"], OVERDUE_AFTER)
    else:
        await on.table.fetch(sql.MARK_OUT, query["incarnation"], query["reason"])
    return {}


async def _remove(on: Queries, query: Query) -> Answer:
    async with on.table.transaction():
        await on.table.fetch(sql.LOCK)
        await on.table.fetch(sql.REMOVE, query["incarnation"])
    return {}


async def _write_off(on: Queries, query: Query) -> Answer:
    await on.table.fetch(sql.WRITE_OFF, query["missing"], query["counting"])
    return {}


async def _open_transactions(on: Queries, query: Query) -> Answer | Unfinished:
    id_ = query.get("database", "")
    return await _open(on, [on.databases.get(id_)] if id_ else [*on.databases], {})


async def _open(on: Queries, databases: list[Database], answer: Answer) -> Answer | Unfinished:
    """Complete an answer by what is open in databases."""
    here = [name for database in databases if database is on.table.database for name in await open_in(database)]
    elsewhere = [database for database in databases if database is not on.table.database]
    answer["open"] = here
    return Unfinished(answer, elsewhere) if elsewhere else answer


async def open_in(database: Database) -> list[str]:
    """The transactions that have written to a database's objects table and have not ended."""
    rows = await database.fetch(sql.OPEN, database.table)
    return [f"{database.id} {row['virtualtransaction']}" for row in rows]


async def _applied(on: Queries, query: Query) -> Answer:
    await on.table.fetch(sql.APPLIED, query["incarnation"], query["outside"])
    return {}


async def _forget_outside(on: Queries, query: Query) -> Answer:
    database, notes = on.databases.of_word(query["word"]), query["outside"]
    statement = FORGET.format(schema=database.connection.storage._db_schema)
    if database is on.table.database:
        async with on.table.transaction():
            await database.connection.fetch(statement, notes)
    else:
        # The queries behind do not wait for it: its server may be dead.
        on.beside(_forget_elsewhere(database, statement, notes))
    return {}


async def _forget_elsewhere(database: Database, statement: str, notes: list[int]) -> None:
    # The library asks again with the next view for what has failed.
    with suppress(LookupError, *ERRORS):
        await asyncio.wait_for(database.fetch(statement, notes), TIMEOUT)


_FUNCTIONS: Final[dict[str, Callable[[Queries, Query], Awaitable[Answer | Unfinished]]]] = {
    "take_view": _take_view,
    "post": _post,
    "elect": _elect,
    "enter": _enter,
    "mark_out": _mark_out,
    "remove": _remove,
    "write_off": _write_off,
    "open_transactions": _open_transactions,
    "applied": _applied,
    "forget_outside": _forget_outside,
}
