"""The members table in use: the referee of the cluster (R2, R5, R7, R13), and R6's answers.

The state machine in the library asks, this module executes, over connections of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg
import msgspec
from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache.database import members_table as sql
from guillotina_groupcache.database import rows as members_rows
from guillotina_groupcache.database.claims import cluster_of
from guillotina_groupcache.database.connections import TIMEOUT
from guillotina_groupcache.database.databases import Change, Database, Databases
from guillotina_groupcache.database.failover import UNREADABLE, Known, decode_known
from guillotina_groupcache.database.notes_table import FORGET
from guillotina_groupcache.database.outside_writes import OutsideWrites, Register
from guillotina_groupcache.display import shown
from guillotina_groupcache.interfaces import ConfigurationError
from guillotina_groupcache.throttled import Throttled

logger = logging.getLogger("guillotina_groupcache")

#: Seconds between two removals of rows that have been out for a minute.
CLEAN_EVERY: Final = 20.0
#: Seconds between two signs of life, and without one until a process counts as silent.
SEEN_EVERY: Final = 3.0
SILENT_AFTER: Final = 10.0
#: Seconds that what is asked of a database may take to end when it is given up.
END_TIMEOUT: Final = 2.0
#: Seconds that a view waits for databases on other servers: a fraction of the lease, which runs meanwhile.
PATIENCE: Final = 0.25

#: A count below this one counts for it: the library has as many bits as the column, and less is no count anyway.
MIN_COUNTED: Final = -(1 << 62)

Answer = dict[str, Any]


class Members:
    """Executes the questions of one process, one at a time, and answers each, be it with an error."""

    __slots__ = (
        *("_answer", "_cleaned", "_databases", "_elsewhere", "_gone", "_lines", "_own", "_questions", "_seen"),
        *("_table", "_task"),
    )

    def __init__(self, answer: Callable[[int, Answer], None], register: Register) -> None:
        """`answer` is called with a question's number and its answer, `register` with what was written from outside."""
        self._answer = answer
        self._databases = Databases(register)
        self._table: Database | None = None
        self._questions: asyncio.Queue[tuple[int, Answer]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._elsewhere: set[asyncio.Task[None]] = set()
        self._cleaned = 0.0
        self._gone = False  # the table, as the last view found it
        self._lines = Throttled(logger)
        self._own: int | None = None  # whose row is this process'
        self._seen = 0.0

    @property
    def has_table(self) -> bool:
        """Whether a storage was given that the members table can lie in."""
        return self._table is not None

    @property
    def storages(self) -> list[PostgresqlStorage]:
        """Every storage that was given, the table's first."""
        return [database.connection.storage for database in self._databases]

    def outside_writes_of(self, storage: Any) -> OutsideWrites | None:
        """What is written to a storage's database from outside; None where it is not served."""
        return next((database.outside for database in self._databases if database.connection.storage is storage), None)

    def mark_of(self, storage: Any) -> str:
        """What announced statements on a storage's database begin with; empty where nobody hears of them."""
        outside = self.outside_writes_of(storage)
        return "" if outside is None else outside.mark

    def database_of(self, storage: PostgresqlStorage) -> str | None:
        """The id under which a storage was given."""
        return next((database.id for database in self._databases if database.connection.storage is storage), None)

    def add(self, database: str, storage: PostgresqlStorage) -> OutsideWrites:
        """Know a database's storage: the first one holds the table, each answers for its own transactions.

        What is written to it from outside is returned.
        """
        return self._databases.add(database, storage).outside

    def serve(self, database: str, word: int) -> None:
        """From now on views name a database, whose deadline has this place, when it has answered."""
        self._databases.serve(database, word)

    def remove(self, database: str) -> None:
        """Ask a database no more; the table, if it lies there, is read over its own connection still."""
        removed = self._databases.remove(database)
        if removed is not None and removed is not self._table:
            removed.end()

    async def create(self, database: str, new: bool = False) -> None:
        """Make the table in the schema of a database that was added, unless it is there.

        A `new` database is one of which nothing can be cached anywhere.
        Raises `ConfigurationError` where the right to make it is missing.
        """
        self._table = self._databases.get(database)
        schema = self._table.connection.storage._db_schema
        try:
            connection = await self._table.connection.get()
            if not await connection.fetchval(self._prepared(sql.EXIST)):
                await sql.make_when_free(connection, schema, 0 if new else 1)
        except asyncpg.InsufficientPrivilegeError as error:
            raise ConfigurationError(
                f"groupcache.peers: the members table {schema}.groupcache_members cannot be made: {error}:"
                f" give the database user the right to create tables in the schema {schema!r}"
            ) from None

    async def claim(self, database: str) -> None:
        """Claim a database that was added: the first one, which is to hold the table, or one that is served by now.

        Raises `ConfigurationError` where others serve it, for another cluster or under another id (R15), and for the
        first one what the database raises. Another one that does not answer is claimed by a look, later.
        """
        databases = self._databases
        if not databases.cluster:
            databases.join(await databases.get(database).acquire_claim(""))
            return
        with suppress(OSError, asyncio.TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await databases.get(database).acquire_claim(databases.cluster)

    async def _make(self) -> None:
        assert self._table is not None
        await sql.make(await self._table.connection.get(), self._table.connection.storage._db_schema)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        """A transaction in which each statement sees what was committed before it, whatever the server's default is."""
        assert self._table is not None
        async with (await self._table.connection.get()).transaction(isolation="read_committed"):
            yield

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
        tasks = [*self._elsewhere, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        for database in {*self._databases, *([self._table] if self._table else [])}:
            tasks += database.end()
        # A wait that ends just as it is cancelled may take that for its own (Python 3.11 and earlier).
        for _ in range(3):
            if tasks:
                _, late = await asyncio.wait(tasks, timeout=END_TIMEOUT)
                tasks = [*late]
            for task in tasks:
                task.cancel()
        self._task = None

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
                if self._table is not None:
                    self._table.connection.disconnect()
                answer = {"error": f"{type(error).__name__}: {error}"}
            finally:
                self._questions.task_done()
            if elsewhere := answer.pop("elsewhere", None):
                self._beside(self._complete(question, answer, elsewhere))
            else:
                self._give(question, answer)

    def _give(self, question: int, answer: Answer) -> None:
        try:
            self._answer(question, answer)
        except Exception as error:  # the questions behind are executed all the same
            self._lines.warning("answer", "groupcache: what the database said was not taken: %s", shown(error))

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._elsewhere.add(task)
        task.add_done_callback(self._elsewhere.discard)

    async def _complete(self, question: int, answer: Answer, elsewhere: list[Database]) -> None:
        """Answer with what other databases say too. The questions behind do not wait for it: a server may be dead."""
        try:
            for rows in await asyncio.wait_for(asyncio.gather(*map(self._open_in, elsewhere)), TIMEOUT):
                answer["open"] += rows
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        self._give(question, answer)

    async def _execute(self, fields: Answer) -> Answer:
        operation: Callable[[Answer], Awaitable[Answer]] = getattr(self, f"_{fields['op']}")
        return await operation(fields)

    def _prepared(self, statement: str) -> str:
        assert self._table is not None
        return sql.prepared(statement, self._table.connection.storage._db_schema)

    async def _statement(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        assert self._table is not None
        return await self._table.connection.fetch(self._prepared(statement), *arguments)

    # --- readings

    async def _take_view(self, fields: Answer) -> Answer:
        now = asyncio.get_running_loop().time()
        try:
            if self._own is not None and now >= self._seen + SEEN_EVERY:
                self._seen = now
                await self._give_sign_of_life(self._own)
            if now >= self._cleaned + CLEAN_EVERY:
                self._cleaned = now
                await self._clean()
            rows, reached = await self._view(fields["asked"])
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
            if not self._gone:
                self._gone = True
                logger.warning(
                    "groupcache: the members table is gone, or part of it: everybody joins anew when it is made"
                )
            await self._make()
            raise
        self._gone = False
        members, ownerless = members_rows.sorted_out(rows)
        if ownerless:
            await members_rows.remove(self._statement, ownerless, self._lines)
        missing = max(rows[0]["counted"], MIN_COUNTED) - len(members)
        return {"rows": members, "missing": missing, "counting": rows[0]["counting"], "reached": reached}

    async def _view(self, asked: int) -> tuple[list[asyncpg.Record], list[Answer]]:
        """The rows, and which databases have answered since which view, and are those that the rows know."""
        table = self._table
        assert table is not None
        await self._keep_claim(table)
        looks = self._databases.look(asked, table)
        rows = await self._rows()
        if looks:
            await asyncio.wait(looks, timeout=PATIENCE)
        found = self._databases.found(table, rows[0], asked)
        if changes := self._databases.changes(found):
            await self._know(changes)
            rows = await self._rows()
        return rows, await self._databases.reached(found, asked)

    async def _keep_claim(self, table: Database) -> None:
        """Renew the claim of the table's database. Another server may stand behind its name by now: a cluster's too."""
        if not table.is_claim_due:
            return
        cluster = await cluster_of(await table.connection.get(), table.connection.storage._db_schema)
        if cluster != self._databases.cluster:
            self._databases.join(cluster)
        await table.keep_claim(cluster)

    async def _rows(self) -> list[asyncpg.Record]:
        assert self._table is not None
        connection, ids = self._table.connection, [database.id for database in self._databases]
        arguments = (SILENT_AFTER, self._table.table, ids)
        rows = await self._table.read(lambda text: connection.fetch(text, *arguments), self._prepared(sql.READ), 2)
        if not rows or rows[0]["counted"] is None:
            raise asyncpg.UndefinedTableError("the cluster's row is gone, or was made by an earlier version")
        known, unreadable = decode_known(rows[0]["identities"])
        self._databases.know(known)
        if unreadable:
            await self._mend(unreadable, rows[0]["cluster_version"])
        return rows

    async def _mend(self, unreadable: list[str], version: str) -> None:
        """Have the cluster's row say of databases what can be read: that they may have lost commits.

        Raises `LookupError`, as the view is to be tried again.
        """
        self._lines.warning(
            "identities",
            "groupcache: what the cluster's row in the members table says of the database %s cannot be read",
            ", ".join(map(shown, unreadable[: members_rows.MAX_NAMED])),
        )
        await self._statement(sql.MEND, _form(dict.fromkeys(unreadable, UNREADABLE)), version)
        raise LookupError("what the cluster's row said of a database could not be read, and was replaced")

    async def _clean(self) -> None:
        async with self._transaction():
            if await self._statement(sql.LOCK_TO_CLEAN):
                await self._statement(sql.CLEAN)

    async def _give_sign_of_life(self, incarnation: int) -> None:
        assert self._table is not None
        connection = await self._table.connection.get()
        async with connection.transaction(isolation="read_committed"):
            # Nothing is lost with it, unlike with the states: it need not wait for the disk.
            await connection.execute("SET LOCAL synchronous_commit TO off")
            await self._statement(sql.SEEN, incarnation)

    async def _know(self, changes: list[Change]) -> None:
        """Have the cluster's row say what databases show. If one may have lost commits everybody is out (R13)."""
        async with self._transaction():
            lost = []
            for id_, old, new in changes:
                if await self._statement(sql.KNOW, id_, _form(new), old and _form(old)):
                    lost += [id_] * (new.failovers > (old.failovers if old else 0))
            if lost:
                await self._statement(sql.ALL_OUT, "a database may have lost commits")
                logger.warning(
                    "groupcache: the database %s may have lost commits: everything cached is renamed", ", ".join(lost)
                )

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
        return {"done": bool(won), **(await self._open([*self._databases]) if won else {"open": []})}

    async def _enter(self, fields: Answer) -> Answer:
        return {"done": bool(await self._statement(sql.ENTER, fields["incarnation"]))}

    async def _mark_out(self, fields: Answer) -> Answer:
        if fields.get("overdue"):
            await self._statement(sql.MARK_OUT_SILENT, fields["incarnation"], fields["reason"], SILENT_AFTER)
        else:
            await self._statement(sql.MARK_OUT, fields["incarnation"], fields["reason"])
        return {}

    async def _remove(self, fields: Answer) -> Answer:
        async with self._transaction():
            await self._statement(sql.LOCK)
            await self._statement(sql.REMOVE, fields["incarnation"])
        return {}

    async def _applied(self, fields: Answer) -> Answer:
        await self._statement(sql.APPLIED, fields["incarnation"], fields["outside"])
        return {}

    async def _forget_outside(self, fields: Answer) -> Answer:
        database = self._databases.of_word(fields["word"])
        statement = FORGET.format(schema=database.connection.storage._db_schema)
        if database is self._table:
            async with self._transaction():
                await database.connection.fetch(statement, fields["outside"])
        else:
            # The questions behind do not wait for it: its server may be dead.
            self._beside(self._forget_elsewhere(database, statement, fields["outside"]))
        return {}

    async def _forget_elsewhere(self, database: Database, statement: str, notes: list[int]) -> None:
        # What fails is asked for again with the next view.
        with suppress(asyncio.TimeoutError, LookupError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await asyncio.wait_for(database.fetch(statement, notes), TIMEOUT)

    async def _write_off(self, fields: Answer) -> Answer:
        await self._statement(sql.WRITE_OFF, fields["missing"], fields["counting"])
        return {}

    async def _open_transactions(self, fields: Answer) -> Answer:
        id_ = fields.get("database", "")
        return await self._open([self._databases.get(id_)] if id_ else [*self._databases])

    async def _open(self, databases: list[Database]) -> Answer:
        """What is open in the table's database; the others are left to `_complete`."""
        here = [name for database in databases if database is self._table for name in await self._open_in(database)]
        return {"open": here, "elsewhere": [database for database in databases if database is not self._table]}

    async def _open_in(self, database: Database) -> list[str]:
        rows = await database.fetch(sql.OPEN, database.table)
        return [f"{database.id} {row['virtualtransaction']}" for row in rows]


def _form(known: Known | dict[str, Known]) -> str:
    return msgspec.json.encode(known).decode()
