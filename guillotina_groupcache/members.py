"""The members table in use: the referee of the cluster (R2, R5, R7, R13), and R6's answers.

The state machine in the library asks, this module executes, over connections of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache import members_table as sql
from guillotina_groupcache.interfaces import ConfigurationError
from guillotina_groupcache.lines import TIMEOUT, Line
from guillotina_groupcache.losses import server_of

logger = logging.getLogger("guillotina_groupcache")

#: Seconds between two removals of rows that have been out for a minute.
CLEAN_EVERY: Final = 20.0
#: Seconds between two signs of life, and without one until a process counts as silent.
SEEN_EVERY: Final = 3.0
SILENT_AFTER: Final = 10.0

Answer = dict[str, Any]


class Members:
    """Executes the questions of one process, one at a time, and answers each, be it with an error."""

    __slots__ = ("_answer", "_cleaned", "_lines", "_losses", "_own", "_questions", "_seen", "_table", "_task")

    def __init__(self, answer: Callable[[int, Answer], None]) -> None:
        """`answer` is called with a question's number and its answer."""
        self._answer = answer
        self._lines: dict[str, Line] = {}  # by database
        self._table: Line | None = None
        self._questions: asyncio.Queue[tuple[int, Answer]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._cleaned = 0.0
        self._own: int | None = None  # whose row is this process'
        self._seen = 0.0
        self._losses = 0  # as the cluster's row counted them when it was read last

    @property
    def has_table(self) -> bool:
        """Whether a storage was given that the members table can lie in."""
        return self._table is not None

    @property
    def storages(self) -> list[PostgresqlStorage]:
        """Every storage that was given, the table's first."""
        return [line.storage for line in self._lines.values()]

    def database_of(self, storage: PostgresqlStorage) -> str | None:
        """The id under which a storage was given."""
        return next((id_ for id_, line in self._lines.items() if line.storage is storage), None)

    def add(self, database: str, storage: PostgresqlStorage) -> None:
        """Know a database's storage: the first one holds the table, each answers for its own transactions."""
        self._lines[database] = Line(storage)

    def remove(self, database: str) -> None:
        """Ask a database no more; the table, if it lies there, is read over its own connection still."""
        line = self._lines.pop(database, None)
        if line is not None and line is not self._table:
            line.disconnect()

    async def create(self, database: str, new: bool = False) -> None:
        """Make the table in the schema of a database that was added, unless it is there.

        A `new` database is one of which nothing can be cached anywhere.
        Raises `ConfigurationError` where the right to make it is missing.
        """
        self._table = self._lines[database]
        schema = self._table.storage._db_schema
        try:
            if not await (await self._table.connection()).fetchval(self._prepared(sql.EXIST)):
                await self._make(0 if new else 1)
        except asyncpg.InsufficientPrivilegeError as error:
            raise ConfigurationError(
                f"groupcache.peers: the members table {schema}.groupcache_members cannot be made: {error}:"
                f" give the database user the right to create tables in the schema {schema!r}"
            ) from None

    async def _make(self, unknown: int = 1) -> None:
        """Make the table, or what it lacks. The count of rows begins with `unknown` that one before may have had."""
        for attempt in (1, 2, 3):
            try:
                async with self._transaction() as connection:
                    await connection.execute(self._prepared(sql.CREATE))
                    if not await connection.fetchval(self._prepared(sql.HAS_COUNT)):
                        await connection.execute(self._prepared(sql.ADD_COUNT))
                    await self._statement(sql.LOCK)
                    await self._statement(sql.BEGIN_COUNT, unknown)
                return
            except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError):
                # Another process makes it at the same moment.
                if attempt == 3:
                    raise

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """A transaction in which each statement sees what was committed before it, whatever the server's default is."""
        assert self._table is not None
        connection = await self._table.connection()
        async with connection.transaction(isolation="read_committed"):
            yield connection

    def start(self) -> None:
        """Begin to execute."""
        self._task = asyncio.ensure_future(self._run())

    def put(self, question: int, fields: Answer) -> None:
        """Execute a question when those before it have been."""
        self._questions.put_nowait((question, fields))

    async def join(self) -> None:
        """Wait until every question was executed."""
        await self._questions.join()

    async def stop(self) -> None:
        """End; questions that wait are dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._disconnect()

    def _disconnect(self) -> None:
        for line in {*self._lines.values(), *([self._table] if self._table else [])}:
            line.disconnect()

    async def _run(self) -> None:
        while True:
            question, fields = await self._questions.get()
            try:
                answer = await asyncio.wait_for(self._execute(fields), TIMEOUT)
            except asyncio.CancelledError:
                raise
            except LookupError as error:
                answer = {"error": str(error)}
            except Exception as error:
                # A statement that was given up may still run.
                self._disconnect()
                answer = {"error": f"{type(error).__name__}: {error}"}
            finally:
                self._questions.task_done()
            self._answer(question, answer)

    async def _execute(self, fields: Answer) -> Answer:
        operation: Callable[[Answer], Awaitable[Answer]] = getattr(self, f"_{fields['op']}")
        return await operation(fields)

    def _prepared(self, statement: str) -> str:
        assert self._table is not None
        return sql.prepared(statement, self._table.storage._db_schema)

    async def _statement(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        assert self._table is not None
        return await self._table.fetch(self._prepared(statement), *arguments)

    # --- readings

    async def _read(self, fields: Answer) -> Answer:
        now = asyncio.get_running_loop().time()
        try:
            if self._own is not None and now >= self._seen + SEEN_EVERY:
                self._seen = now
                await self._give_sign_of_life(self._own)
            if now >= self._cleaned + CLEAN_EVERY:
                self._cleaned = now
                await self._clean()
            rows = await self._rows()
            if await self._have_lost(rows[0]):
                rows = await self._rows()
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
            logger.warning("groupcache: the members table is gone, or part of it: it is made, and everybody joins anew")
            await self._make()
            raise
        members = [_member(row) for row in rows if row["incarnation"] is not None]
        return {"rows": members, "missing": rows[0]["counted"] - len(members), "counting": rows[0]["counting"]}

    async def _rows(self) -> list[asyncpg.Record]:
        rows = await self._statement(sql.READ, SILENT_AFTER)
        if not rows or rows[0]["counted"] is None:
            raise asyncpg.UndefinedTableError("the cluster's row is gone, or was made by an earlier version")
        return rows

    async def _clean(self) -> None:
        async with self._transaction():
            if await self._statement(sql.LOCK_TO_CLEAN):
                await self._statement(sql.CLEAN)

    async def _give_sign_of_life(self, incarnation: int) -> None:
        assert self._table is not None
        connection = await self._table.connection()
        async with connection.transaction():
            # Nothing is lost with it, unlike with the states: it need not wait for the disk.
            await connection.execute("SET LOCAL synchronous_commit TO off")
            await self._statement(sql.SEEN, incarnation)

    async def _have_lost(self, cluster: asyncpg.Record) -> bool:
        """Whether a database may have lost commits (R13). If so everybody is out now, and begins with a new epoch."""
        assert self._table is not None
        identity: str = cluster["identity"]
        lost = self._table.watch.lost(identity, cluster["flushed"], cluster["expected"])
        for line in self._lines.values():
            if line is not self._table and await self._other_has_lost(line, identity):
                lost = True
        if lost:
            await self._rename_everything(identity, self._losses)
        self._losses = cluster["losses"]
        return lost

    async def _other_has_lost(self, line: Line, tables: str) -> bool:
        """The same for a database on another server than the table's."""
        watch = line.watch
        if watch.identity and server_of(watch.identity) == server_of(tables):
            return False
        (row,) = await line.fetch(self._prepared(sql.LOOK))
        return watch.lost(row["identity"], row["flushed"], watch.identity or row["identity"])

    async def _rename_everything(self, identity: str, losses: int) -> None:
        assert self._table is not None
        connection = await self._table.connection()
        async with connection.transaction():
            if await self._statement(sql.COUNT_LOSS, identity, losses):
                await self._statement(sql.ALL_OUT, "the database may have lost commits")
                logger.warning("groupcache: the database may have lost commits: everything cached is renamed")

    # --- the other questions

    async def _post(self, fields: Answer) -> Answer:
        self._own = fields["incarnation"]
        async with self._transaction():
            await self._statement(sql.LOCK)
            await self._statement(sql.POST, fields["incarnation"], fields.get("address", ""), fields.get("host", ""))
        return {}

    async def _elect(self, fields: Answer) -> Answer:
        async with self._transaction():
            await self._statement(sql.LOCK)
            won = await self._statement(sql.ELECT, fields["incarnation"])
        return {"done": bool(won), "open": await self._open_everywhere() if won else []}

    async def _enter(self, fields: Answer) -> Answer:
        return {"done": bool(await self._statement(sql.ENTER, fields["incarnation"]))}

    async def _mark_out(self, fields: Answer) -> Answer:
        if fields.get("silent"):
            await self._statement(sql.MARK_OUT_SILENT, fields["incarnation"], fields["reason"], SILENT_AFTER)
        else:
            await self._statement(sql.MARK_OUT, fields["incarnation"], fields["reason"])
        return {}

    async def _remove(self, fields: Answer) -> Answer:
        async with self._transaction():
            await self._statement(sql.LOCK)
            await self._statement(sql.REMOVE, fields["incarnation"])
        return {}

    async def _write_off(self, fields: Answer) -> Answer:
        await self._statement(sql.WRITE_OFF, fields["missing"], fields["counting"])
        return {}

    async def _open_transactions(self, fields: Answer) -> Answer:
        database = fields.get("database", "")
        if not database:
            return {"open": await self._open_everywhere()}
        return {"open": await self._open_in(database)}

    async def _open_everywhere(self) -> list[str]:
        return [name for database in list(self._lines) for name in await self._open_in(database)]

    async def _open_in(self, database: str) -> list[str]:
        line = self._lines.get(database)
        if line is None:
            raise LookupError(f"the database {database!r} is not served by this process")
        rows = await line.fetch(sql.OPEN, line.storage.objects_table_name)
        return [f"{database} {row['virtualtransaction']}" for row in rows]


def _member(row: asyncpg.Record) -> Answer:
    return {name: row[name] for name in ("incarnation", "address", "host", "state", "reason", "silent")}
