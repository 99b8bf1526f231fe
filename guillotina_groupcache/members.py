"""The members table, in the database that Guillotina uses: the referee of the cluster (R2, R5, R7), and R6's answers.

The state machine in the library asks, this module executes. It reads over a connection of its own: a pool that
is full must not push the process into bypass, which would fill it more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg
from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache.interfaces import ConfigurationError

logger = logging.getLogger("guillotina_groupcache")

#: Seconds that a statement, or a connection attempt, may take before it counts as failed.
TIMEOUT: Final = 3.0
#: Seconds between two removals of rows that have been out for a minute.
CLEAN_EVERY: Final = 20.0
#: Seconds between two signs of life, and without one until a process counts as silent.
SEEN_EVERY: Final = 3.0
SILENT_AFTER: Final = 10.0

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS {schema}.groupcache_members (
    incarnation BIGINT PRIMARY KEY,
    address TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('joining', 'boot', 'in', 'out')),
    changed TIMESTAMPTZ NOT NULL DEFAULT now(),
    seen TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS {schema}.groupcache_cluster (
    id SMALLINT PRIMARY KEY CHECK (id = 1)
);
INSERT INTO {schema}.groupcache_cluster (id) VALUES (1) ON CONFLICT DO NOTHING;
"""
_EXISTS: Final = "SELECT to_regclass('{schema}.groupcache_cluster') IS NOT NULL"
_READ: Final = "SELECT incarnation, address, state FROM {schema}.groupcache_members"
_CLEAN: Final = """
DELETE FROM {schema}.groupcache_members WHERE state = 'out' AND changed < now() - interval '1 minute'
"""
_POST: Final = """
INSERT INTO {schema}.groupcache_members (incarnation, address, state) VALUES ($1, $2, 'joining')
ON CONFLICT (incarnation) DO UPDATE SET address = $2, state = 'joining', changed = now(), seen = now()
"""
_LOCK: Final = "SELECT id FROM {schema}.groupcache_cluster WHERE id = 1 FOR UPDATE"
_ELECT: Final = """
UPDATE {schema}.groupcache_members SET state = 'boot', changed = now()
WHERE incarnation = $1 AND state = 'joining' AND NOT EXISTS (
    SELECT 1 FROM {schema}.groupcache_members WHERE state IN ('in', 'boot') AND incarnation <> $1)
RETURNING 1
"""
_ENTER: Final = """
UPDATE {schema}.groupcache_members SET state = 'in', changed = now()
WHERE incarnation = $1 AND state IN ('joining', 'boot') RETURNING 1
"""
_MARK_OUT: Final = """
UPDATE {schema}.groupcache_members SET state = 'out', changed = now() WHERE incarnation = $1 AND state <> 'out'
"""
#: One that a joiner cannot reach may be alive all the same, which this table tells.
_MARK_OUT_SILENT: Final = _MARK_OUT + " AND seen < now() - make_interval(secs => $2)"
_SEEN: Final = "UPDATE {schema}.groupcache_members SET seen = now() WHERE incarnation = $1"
_REMOVE: Final = "DELETE FROM {schema}.groupcache_members WHERE incarnation = $1"
#: Who has written to the objects table and has not ended; a prepared transaction counts too.
_OPEN: Final = """
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND granted AND relation = $1::regclass
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""

Answer = dict[str, Any]


class Members:
    """Executes the questions of one process, one at a time, and answers each, be it with an error."""

    __slots__ = ("_answer", "_cleaned", "_connection", "_own", "_questions", "_seen", "_storages", "_table", "_task")

    def __init__(self, answer: Callable[[int, Answer], None]) -> None:
        """`answer` is called with a question's number and its answer."""
        self._answer = answer
        self._storages: dict[str, PostgresqlStorage] = {}
        self._table: PostgresqlStorage | None = None
        self._connection: asyncpg.Connection | None = None
        self._questions: asyncio.Queue[tuple[int, Answer]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._cleaned = 0.0
        self._own: int | None = None  # whose row is this process'
        self._seen = 0.0

    @property
    def has_table(self) -> bool:
        """Whether a storage was given that the members table can lie in."""
        return self._table is not None

    @property
    def storages(self) -> list[PostgresqlStorage]:
        """Every storage that was given, the table's first."""
        return list(self._storages.values())

    def add(self, database: str, storage: PostgresqlStorage) -> None:
        """Know a database's storage: the first one holds the table, each answers for its own transactions."""
        self._storages[database] = storage

    def remove(self, database: str) -> None:
        """Ask a database no more; the table, if it lies there, is read over its own connection still."""
        self._storages.pop(database, None)

    async def create(self, storage: PostgresqlStorage) -> None:
        """Make the table in a storage's schema, unless it is there.

        Raises `ConfigurationError` where the right to make it is missing.
        """
        self._table = storage
        connection = await self._connect()
        schema = storage._db_schema
        for attempt in (1, 2, 3):
            try:
                if not await connection.fetchval(_EXISTS.format(schema=schema)):
                    await connection.execute(_CREATE.format(schema=schema))
                return
            except asyncpg.InsufficientPrivilegeError as error:
                raise ConfigurationError(
                    f"groupcache.peers: the members table {schema}.groupcache_members cannot be made: {error}:"
                    f" give the database user the right to create tables in the schema {schema!r}"
                ) from None
            except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError):
                # Another process makes it at the same moment.
                if attempt == 3:
                    raise

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
                # A statement that was given up may still run: its connection is of no more use.
                self._disconnect()
                answer = {"error": f"{type(error).__name__}: {error}"}
            finally:
                self._questions.task_done()
            self._answer(question, answer)

    async def _execute(self, fields: Answer) -> Answer:
        operation: Callable[[Answer], Awaitable[Answer]] = getattr(self, f"_{fields['op']}")
        return await operation(fields)

    async def _connect(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            assert self._table is not None
            self._connection = await connect(self._table)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _statement(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        connection = await self._connect()
        assert self._table is not None
        rows: list[asyncpg.Record] = await connection.fetch(sql.format(schema=self._table._db_schema), *arguments)
        return rows

    async def _read(self, fields: Answer) -> Answer:
        now = asyncio.get_running_loop().time()
        if self._own is not None and now >= self._seen + SEEN_EVERY:
            self._seen = now
            await self._give_sign_of_life(self._own)
        if now >= self._cleaned + CLEAN_EVERY:
            self._cleaned = now
            await self._statement(_CLEAN)
        return {"rows": [dict(row) for row in await self._statement(_READ)]}

    async def _give_sign_of_life(self, incarnation: int) -> None:
        connection = await self._connect()
        async with connection.transaction():
            # Nothing is lost with it, unlike with the states: it need not wait for the disk.
            await connection.execute("SET LOCAL synchronous_commit TO off")
            await self._statement(_SEEN, incarnation)

    async def _post(self, fields: Answer) -> Answer:
        self._own = fields["incarnation"]
        await self._statement(_POST, fields["incarnation"], fields.get("address", ""))
        return {}

    async def _elect(self, fields: Answer) -> Answer:
        connection = await self._connect()
        async with connection.transaction():
            await self._statement(_LOCK)
            won = await self._statement(_ELECT, fields["incarnation"])
        return {"done": bool(won), "open": await self._open_everywhere() if won else []}

    async def _enter(self, fields: Answer) -> Answer:
        return {"done": bool(await self._statement(_ENTER, fields["incarnation"]))}

    async def _mark_out(self, fields: Answer) -> Answer:
        if fields.get("silent"):
            await self._statement(_MARK_OUT_SILENT, fields["incarnation"], SILENT_AFTER)
        else:
            await self._statement(_MARK_OUT, fields["incarnation"])
        return {}

    async def _remove(self, fields: Answer) -> Answer:
        await self._statement(_REMOVE, fields["incarnation"])
        return {}

    async def _open_transactions(self, fields: Answer) -> Answer:
        database = fields.get("database", "")
        if not database:
            return {"open": await self._open_everywhere()}
        return {"open": await self._open_in(database)}

    async def _open_everywhere(self) -> list[str]:
        return [name for database in self._storages for name in await self._open_in(database)]

    async def _open_in(self, database: str) -> list[str]:
        storage = self._storages.get(database)
        if storage is None:
            raise LookupError(f"the database {database!r} is not served by this process")
        if storage is self._table:
            rows = await self._statement(_OPEN, storage.objects_table_name)
        else:
            async with storage.pool.acquire(timeout=TIMEOUT) as connection:
                rows = await connection.fetch(_OPEN, storage.objects_table_name)
        return [f"{database} {row['virtualtransaction']}" for row in rows]


async def connect(storage: PostgresqlStorage) -> asyncpg.Connection:
    """A connection to a storage's database that is not of its pool, with the pool's options for one."""
    allowed = ("ssl", "server_settings", "statement_cache_size", "max_cached_statement_lifetime")
    options = {name: value for name, value in storage._connection_options.items() if name in allowed}
    return await asyncpg.connect(dsn=storage._dsn, timeout=TIMEOUT, **options)
