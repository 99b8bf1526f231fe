"""Looks at databases: whether each answers, and whether it is still the same one (R2, R13).

The tension: a view must name the databases that answer, and a dead server must not make the view late. So looks run
beside the view, each under a deadline of its own; the view waits for them for a moment, and only for databases that
have answered so far. What a look finds later is reported with the next view, and counts from the view with which the
look began.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache.database.claims import REFRESH_EVERY, Claim, cluster_of
from guillotina_groupcache.database.connections import OwnConnection, connect
from guillotina_groupcache.database.failover import FLUSHED, IDENTITY, OBJECTS, Change, Known, Look, Watch
from guillotina_groupcache.database.outside_writes import OutsideWrites, Register

logger = logging.getLogger("guillotina_groupcache")

#: Seconds that a look may take, from connecting to the answer: one that takes a whole lease would be worth nothing.
LOOK_TIMEOUT: Final = 2.0
#: Seconds between two looks at a database that does not answer.
RETRY_EVERY: Final = 0.5

_LOOK: Final = (
    f"SELECT {IDENTITY} AS identity, {FLUSHED} AS flushed, {OBJECTS.format('$1::text')} AS objects, {{outside}}"
)


class Database:
    """A database that this process serves, and the one connection to it outside the pool."""

    def __init__(self, id_: str, storage: PostgresqlStorage, register: Register) -> None:
        self.id = id_
        self.outside = OutsideWrites(id_, storage, register)
        self.connection = OwnConnection(storage)
        self.watch = Watch()
        #: The claim to its objects table, without which nothing of it is served (R15).
        self.claim = Claim(id_, storage)
        self._claimed = 0.0  # when the claim was last renewed
        #: The place of its deadline in the version table; None: it has none yet.
        self.word: int | None = None
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._found: Look | None = None
        self._failure = ""  # why it was not reached; empty: it answers
        self._has_ended = False
        self._next = 0.0

    @property
    def table(self) -> str:
        """The name of its objects table."""
        name: str = self.connection.storage.objects_table_name
        return name

    @property
    def is_whole(self) -> bool:
        """Whether it may be served: it is this cluster's, and what is written to it from outside is noted."""
        return not (self.claim.is_lost or self.outside.is_blind)

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement after those before it, and return its rows."""
        async with self._exclusive():
            return await self.connection.fetch(statement, *arguments)

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """Have the connection to oneself."""
        async with self._lock:
            if self._has_ended:
                raise LookupError(f"the database {self.id!r} is not served any more")
            try:
                yield
            except asyncpg.PostgresError:
                raise
            except BaseException:
                # A statement that was given up may still run.
                self.connection.disconnect()
                raise

    # --- the claim

    async def acquire_claim(self, cluster: str) -> str:
        """Claim the objects table for a cluster, which is returned; "": the one whose members table lies here.

        This has a connection to itself, so that looks do not wait for it. Raises as `Claim.acquire` does, and what a
        database raises that does not answer.
        """
        connection = await connect(self.connection.storage)
        try:
            cluster = cluster or await cluster_of(connection, self.connection.storage._db_schema)
            await self.claim.acquire(connection, cluster)
        finally:
            connection.terminate()
        return cluster

    @property
    def is_claim_due(self) -> bool:
        """Whether it is time to renew the claim."""
        return self.word is not None and time.monotonic() >= self._claimed + REFRESH_EVERY

    async def keep_claim(self, cluster: str) -> None:
        """Renew the claim if it is time, over the connection for looks. Raises what the database raises."""
        if not self.is_claim_due:
            return
        now = time.monotonic()
        async with self._exclusive():
            was_lost = self.claim.is_lost
            held = await self.claim.refresh(await self.connection.get(), cluster)
        self._claimed = now
        # Another cluster that has served it meanwhile has announced its commits to nobody here.
        self.watch.was_elsewhere |= was_lost and held

    # --- looks

    def look(self, asked: int, known: Known | None, cluster: str) -> asyncio.Task[None] | None:
        """Begin to look at the database, unless a look is under way. Returns it if the view should wait for it."""
        now = time.monotonic()
        if (self._task is not None and not self._task.done()) or (self._failure and now < self._next):
            return None
        self._next = now + RETRY_EVERY
        self._task = asyncio.ensure_future(self._look(asked, known, cluster))
        return None if self._failure else self._task

    def take(self) -> Look | None:
        """Take what the last look has found; None where it was taken already."""
        found, self._found = self._found, None
        return found

    async def _look(self, asked: int, known: Known | None, cluster: str) -> None:
        try:
            (row,) = await asyncio.wait_for(self._look_and_keep(cluster), LOOK_TIMEOUT)
        except Exception as error:
            in_recovery = isinstance(error, asyncpg.ObjectNotInPrerequisiteStateError)
            failure = "is in recovery" if in_recovery else "does not answer"
            if failure != self._failure:
                self._failure = failure
                logger.warning(
                    "groupcache: the database %s %s, and is read past the cache: %s",
                    *(self.id, failure, str(error) or type(error).__name__),
                )
            return
        self._found = self.found(asked, known, row)
        if self._failure:
            self._failure = ""
            logger.info("groupcache: the database %s answers again", self.id)

    async def _look_and_keep(self, cluster: str) -> list[asyncpg.Record]:
        await self.keep_claim(cluster)
        return await self.read(lambda sql: self.fetch(sql, self.table), _LOOK, 1)

    def found(self, asked: int, known: Known | None, row: Any) -> Look:
        """What a row that shows the database says of it."""
        if self.connection.reconnected:
            self.watch.reconnected, self.connection.reconnected = True, False
        return Look(asked, known, f"{row['identity']} {row['objects']}", row["flushed"], row)

    async def read(
        self, fetch: Callable[[str], Awaitable[list[asyncpg.Record]]], statement: str, parameter: int
    ) -> list[asyncpg.Record]:
        """Read a statement's rows and the notes with them (`OutsideWrites.read`), and mend the triggers if need be.

        `parameter` is the number of the parameter that names the objects table.
        """
        rows = await self.outside.read(fetch, statement, f"${parameter}::text")
        if rows and rows[0]["objects"] and self.claim.is_held:  # the table itself is there, and this cluster's
            self.outside.mend(rows[0])
        return rows

    def end(self) -> list[asyncio.Task[None]]:
        """End all looks; the caller may wait for the tasks that are returned."""
        self._has_ended = True
        self.connection.disconnect()
        tasks = self.outside.end()
        if self._task is not None:
            self._task.cancel()
            tasks.append(self._task)
        return tasks


class Databases:
    """The databases of this process, and what the cluster's row said of them when it was last read."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self._by_id: dict[str, Database] = {}
        self._known: dict[str, Known] = {}
        #: The cluster that they are claimed for: where its members table lies. Empty: none yet.
        self.cluster = ""
        self._others: dict[str, int] = {}  # words of databases that are not PostgreSQL

    def __iter__(self) -> Iterator[Database]:
        return iter(self._by_id.values())

    def get(self, id_: str) -> Database:
        """The database with an id. Raises `LookupError` where it is not served."""
        database = self._by_id.get(id_)
        if database is None:
            raise LookupError(f"the database {id_!r} is not served by this process")
        return database

    def add(self, id_: str, storage: PostgresqlStorage) -> Database:
        """Add a database, which is returned: from now on it is looked at."""
        database = self._by_id[id_] = Database(id_, storage, self._register)
        database.outside.serve(self.cluster)
        return database

    def join(self, cluster: str) -> None:
        """Belong to a cluster: databases are claimed for it, and their statements carry its mark."""
        self.cluster = cluster
        for database in self:
            database.outside.serve(cluster)

    def of_word(self, word: int) -> Database:
        """The database whose deadline has this place in the version table. Raises `LookupError` where there is none."""
        for database in self:
            if database.word == word:
                return database
        raise LookupError(f"no database of this process has the deadline {word}")

    def serve(self, id_: str, word: int) -> None:
        """Set the place of a database's deadline in the version table.

        A database that was not added has no server to look at: it has the deadline of the members table.
        """
        if id_ in self._by_id:
            self._by_id[id_].word = word
        else:
            self._others[id_] = word

    def remove(self, id_: str) -> Database | None:
        """Forget a database, which is returned if it was looked at."""
        self._others.pop(id_, None)
        return self._by_id.pop(id_, None)

    # --- a view, step by step

    def look(self, asked: int, table: Database) -> list[asyncio.Task[None]]:
        """Begin to look at every database except the table's. Returns the looks that the view should wait for."""
        begun = [
            database.look(asked, self._known.get(database.id), self.cluster)
            for database in self
            if database is not table
        ]
        return [look for look in begun if look is not None]

    def know(self, known: dict[str, Known]) -> None:
        """Remember what the cluster's row says."""
        self._known = known

    def found(self, table: Database, row: Any, asked: int) -> dict[Database, Look]:
        """What the looks that have ended show, and what the view's own statement shows of the table's database."""
        found = {table: table.found(asked, self._known.get(table.id), row)}
        return found | {other: look for other in self if other is not table and (look := other.take())}

    def changes(self, found: Mapping[Database, Look]) -> list[Change]:
        """The entries of the cluster's row that have to change."""
        changes = []
        for database, look in found.items():
            known = self._known.get(database.id)
            new = database.watch.judge(look, known)
            if new is not None and new != known:
                changes.append(Change(database.id, known, new))
        return changes

    async def reached(self, found: Mapping[Database, Look], asked: int) -> list[dict[str, Any]]:
        """The databases that have answered and are those that the row knows: their words, and since which view.

        With each goes what was written to it from outside, which the library has to know before it serves by this view.
        """
        reached: list[dict[str, Any]] = [{"word": word, "asked": asked} for word in self._others.values()]
        for database, look in found.items():
            known = self._known.get(database.id)
            if known is None or known.identity != look.identity or not database.is_whole:
                continue
            database.watch.saw(look, known.failovers)
            if database.word is not None and self._by_id.get(database.id) is database:
                # The library forgets notes that no view lists.
                written = await database.outside.registered(look.row)
                reached.append({"word": database.word, "asked": look.asked, "outside": written})
        return reached
