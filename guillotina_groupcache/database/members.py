"""The members table in use: the referee of the cluster. The library's database queries are executed one by one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg
from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache.database.connections import ERRORS, TIMEOUT, end
from guillotina_groupcache.database.databases import Databases
from guillotina_groupcache.database.members_table import MembersTable
from guillotina_groupcache.database.outside_writes import OutsideWrites, Register
from guillotina_groupcache.database.queries import Queries, Query, Unfinished
from guillotina_groupcache.database.views import Answer
from guillotina_groupcache.display import shown
from guillotina_groupcache.interfaces import ConfigurationError
from guillotina_groupcache.throttled import Throttled

logger = logging.getLogger("guillotina_groupcache")


class Members:
    """Executes the database queries of one process, one at a time and over connections of its own, and answers each."""

    def __init__(self, answer: Callable[[int, Answer], None], register: Register) -> None:
        """`answer` is called with a query's number and its answer, `register` with what was written from outside."""
        self._answer = answer
        self._databases = Databases(register)
        self._queries: Queries | None = None  # as soon as there is a table
        self._queue: asyncio.Queue[tuple[int, Query]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._throttled = Throttled(logger)

    # --- databases

    @property
    def has_table(self) -> bool:
        """Whether a storage was given that can hold the members table."""
        return self._queries is not None

    @property
    def storages(self) -> list[PostgresqlStorage]:
        """Every storage that was given, the table's first."""
        return [database.connection.storage for database in self._databases]

    def outside_writes_of(self, storage: Any) -> OutsideWrites | None:
        """What is written to a storage's database from outside; None where it is not served."""
        return next((database.outside for database in self._databases if database.connection.storage is storage), None)

    def mark_of(self, storage: Any) -> str:
        """What announced statements on a storage's database begin with; empty where no member hears of them."""
        outside = self.outside_writes_of(storage)
        return "" if outside is None else outside.mark

    def database_of(self, storage: PostgresqlStorage) -> str | None:
        """The id under which a storage was given."""
        return next((database.id for database in self._databases if database.connection.storage is storage), None)

    def add(self, database: str, storage: PostgresqlStorage) -> OutsideWrites:
        """Add a database: the first one holds the table, each is asked for its own transactions.

        What is written to it from outside is returned.
        """
        return self._databases.add(database, storage).outside

    def serve(self, database: str, word: int) -> None:
        """From now on views name a database when it has answered; `word` is the place of its deadline."""
        self._databases.serve(database, word)

    def remove(self, database: str) -> None:
        """Ask a database no more. If it holds the table, that is still read over its own connection."""
        removed = self._databases.remove(database)
        if removed is not None and (self._queries is None or removed is not self._queries.table.database):
            removed.end()

    async def create(self, database: str, new: bool = False) -> None:
        """Make the table in the schema of a database that was added, unless it is there.

        Nothing of a `new` database can be cached anywhere.
        Raises `ConfigurationError` where the right to make the table is missing.
        """
        table = MembersTable(self._databases.get(database))
        self._queries = Queries(table, self._databases)
        try:
            if not await table.exists():
                await table.make(0 if new else 1)
        except asyncpg.InsufficientPrivilegeError as error:
            raise ConfigurationError(
                f"groupcache.peers: the members table {table.schema}.groupcache_members cannot be made: {error}:"
                f" give the database user the right to create tables in the schema {table.schema!r}"
            ) from None

    async def claim(self, database: str) -> None:
        """Claim a database that was added (R15): first the one that is going to hold the table, then the others.

        Raises `ConfigurationError` where living processes serve it for another cluster or under another id, and for
        the first database what that raises. Another one that does not answer is claimed later, by a look.
        """
        databases = self._databases
        if not databases.cluster:
            databases.join(await databases.get(database).acquire_claim(""))
            return
        with suppress(*ERRORS):
            await databases.get(database).acquire_claim(databases.cluster)

    # --- queries

    def start(self) -> None:
        """Begin to execute queries."""
        self._task = asyncio.ensure_future(self._run())

    def put(self, number: int, query: Query) -> None:
        """Execute a query after those before it."""
        self._queue.put_nowait((number, query))

    async def join(self) -> None:
        """Wait until every query was executed."""
        await self._queue.join()

    async def stop(self) -> None:
        """End; queries that wait are dropped."""
        tasks = [self._task] if self._task else []
        databases = {*self._databases}
        if self._queries is not None:
            tasks += self._queries.tasks
            databases.add(self._queries.table.database)
        for database in databases:
            tasks += database.end()
        await end(tasks)
        self._task = None

    async def _run(self) -> None:
        while True:
            number, query = await self._queue.get()
            queries = self._queries
            assert queries is not None  # only the library of a member asks
            try:
                answer = await asyncio.wait_for(queries.execute(query), TIMEOUT)
            except asyncio.CancelledError:
                raise
            except LookupError as error:
                answer = {"error": str(error)}
            except Exception as error:
                # A statement that was given up may still run.
                queries.table.database.connection.disconnect()
                answer = _failure(error)
            finally:
                self._queue.task_done()
            if isinstance(answer, Unfinished):
                queries.beside(self._finish(number, answer))
            else:
                self._give(number, answer)

    async def _finish(self, number: int, unfinished: Unfinished) -> None:
        try:
            answer = await asyncio.wait_for(unfinished.finish(), TIMEOUT)
        except Exception as error:
            answer = _failure(error)
        self._give(number, answer)

    def _give(self, number: int, answer: Answer) -> None:
        try:
            self._answer(number, answer)
        except Exception as error:  # the queries behind are executed all the same
            self._throttled.warning(
                "answer", "groupcache: the library did not take the answer to a database query: %s", shown(error)
            )


def _failure(error: Exception) -> Answer:
    return {"error": f"{type(error).__name__}: {error}"}
