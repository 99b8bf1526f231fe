"""Loads from the database by Guillotina's own storage methods: what they return is what is cached.

Every load runs in a read-only transaction of its own, whose cache is Guillotina's dummy, on a connection of the
storage's pool, outside of any database transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from guillotina.db.cache.dummy import DummyCache
from guillotina.db.interfaces import IPostgresStorage
from guillotina.db.transaction import _EMPTY, Transaction

from guillotina_groupcache import keys, records
from guillotina_groupcache.display import shown
from guillotina_groupcache.interfaces import GroupcacheError, KeyFormatError, RecordError
from guillotina_groupcache.keys import Key, Kind
from guillotina_groupcache.throttled import Throttled

logger = logging.getLogger("guillotina_groupcache")

#: Children that one statement asks for.
BATCH: Final = 1000
#: Seconds that a reader waits for a shared load, as in the library (`loadTimeout`).
LOAD_TIMEOUT: Final = 30.0
#: Seconds that a load waits for the load before it: at this rate there is no stampede either.
TURN_TIMEOUT: Final = 5.0


class Loader:
    """Loads keys of the databases that were added to it."""

    def __init__(self) -> None:
        self._databases: dict[str, Any] = {}
        self._throttled = Throttled(logger)
        self._standbys: set[str] = set()  # databases that were logged because a connection leads to a standby

    def add(self, database: Any) -> None:
        """Make the keys of a Guillotina database (`IDatabase`) loadable."""
        self._databases[database.id] = database

    def remove(self, database: str) -> None:
        """Load keys of a database no more."""
        self._databases.pop(database, None)

    def __contains__(self, database: str) -> bool:
        return database in self._databases

    def __iter__(self) -> Iterator[str]:
        return iter(self._databases)

    async def load(self, packed: Sequence[bytes]) -> list[bytes | None]:
        """The byte form of each key's value; None where the load failed.

        Children of one container take one statement, other keys one each. Peers send keys too, so bytes that are not a
        key are possible: they do not harm the other keys.
        """
        values: list[bytes | None] = [None] * len(packed)
        wanted = {i: key for i, data in enumerate(packed) if (key := self._parsed(data)) is not None}
        for members in _grouped(wanted):
            first = wanted[members[0]]
            try:
                if len(members) > 1:
                    rows = await self._children(first, [wanted[i].name for i in members])
                    found = [rows.get(wanted[i].name, records.ABSENT) for i in members]
                else:
                    found = [await self.load_one(first)]
                for i, value in zip(members, found, strict=True):
                    values[i] = records.encode(value)
            except RecordError as error:
                self._throttled.warning("record", "groupcache: not cached: %s: %s", shown(tuple(first)), error)
            except Exception as error:
                # The reader repeats the load itself and gets Guillotina's own exception.
                logger.debug("groupcache: load failed: %s: %r", first, error)
        return values

    def _parsed(self, data: bytes) -> Key | None:
        try:
            return keys.decode(data)
        except KeyFormatError as error:
            self._throttled.warning("key", "groupcache: not loaded: a peer has sent bytes that are no key: %s", error)
            return None

    async def load_one(self, key: Key) -> Any:
        """The value of a key as Guillotina returns it, or `ABSENT`. Raises what the storage raises."""
        async with self._opened(key.db) as (storage, transaction):
            return await _LOADS[key.kind](storage, transaction, key)

    async def _children(self, key: Key, names: list[str]) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        async with self._opened(key.db) as (storage, transaction):
            for at in range(0, len(names), BATCH):
                for row in await storage.get_children(transaction, key.oid, names[at : at + BATCH]):
                    rows[row["id"]] = row
        return rows

    @asynccontextmanager
    async def _opened(self, database: str) -> AsyncIterator[tuple[Any, Transaction]]:
        """A transaction to load in, on PostgreSQL with a connection of the pool.

        Raises `GroupcacheError` where that leads to a server in recovery, which may lag behind. PostgreSQL reports
        this by itself, from version 14 on, so it costs no statement.
        """
        manager = self._databases[database].get_transaction_manager()
        storage, transaction = manager.storage, Transaction(manager, read_only=True, cache=DummyCache(None))
        if not IPostgresStorage.providedBy(storage):
            yield storage, transaction
            return
        async with storage.pool.acquire(timeout=storage._conn_acquire_timeout) as connection:
            if getattr(connection.get_settings(), "in_hot_standby", "off") == "on":
                self._refuse_standby(database)
            transaction._db_conn = connection
            yield storage, transaction

    def _refuse_standby(self, database: str) -> None:
        why = f"a connection of the database {database} leads to a server in recovery, of which nothing is cached"
        if database not in self._standbys:
            self._standbys.add(database)
            logger.warning("groupcache: %s", why)
        raise GroupcacheError(why)


def _grouped(wanted: Mapping[int, Key]) -> list[list[int]]:
    """The positions of keys that one query can load: children of one container."""
    groups: dict[object, list[int]] = {}
    for i, key in wanted.items():
        together = (key.db, key.oid) if key.kind is Kind.CHILD else i
        groups.setdefault(together, []).append(i)
    return list(groups.values())


async def _object(storage: Any, transaction: Transaction, key: Key) -> Any:
    try:
        return await storage.load(transaction, key.oid)
    except KeyError:
        return records.ABSENT


async def _child(storage: Any, transaction: Transaction, key: Key) -> Any:
    row = await storage.get_child(transaction, key.oid, key.name)
    return records.ABSENT if row is None else row


async def _annotation(storage: Any, transaction: Transaction, key: Key) -> Any:
    try:
        row = await storage.get_annotation(transaction, key.oid, key.name)
    except KeyError:
        row = None
    return _EMPTY if row is None else row


async def _keys(storage: Any, transaction: Transaction, key: Key) -> Any:
    return [row["id"] for row in await storage.keys(transaction, key.oid)]


async def _len(storage: Any, transaction: Transaction, key: Key) -> Any:
    return await storage.len(transaction, key.oid)


async def _annotation_keys(storage: Any, transaction: Transaction, key: Key) -> Any:
    return [row["id"] for row in await storage.get_annotation_keys(transaction, key.oid)]


_LOADS: Final[dict[Kind, Callable[[Any, Transaction, Key], Awaitable[Any]]]] = {
    Kind.OBJECT: _object,
    Kind.CHILD: _child,
    Kind.ANNOTATION: _annotation,
    Kind.KEYS: _keys,
    Kind.LEN: _len,
    Kind.ANNOTATION_KEYS: _annotation_keys,
}


class SharedLoads:
    """Loads of keys that are in doubt: nothing is stored, and readers share only loads that begin after they ask (R4).

    A reader that comes while a load runs waits for the next one: so a hot object in doubt costs the database one read
    at a time, not a stampede. A load that hangs, as on a dead connection, does not hold up readers for ever.

    Readers share a future that is made before the load's task: a task may begin, and even end, while it is created
    (`asyncio.eager_task_factory`).
    """

    def __init__(self, load: Callable[[Key], Awaitable[Any]]) -> None:
        self._load = load
        self._next: dict[bytes, asyncio.Future[Any]] = {}
        self._running: dict[bytes, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def get(self, key: bytes) -> Any:
        """The value that the database holds now.

        Raises what the storage raises, and `GroupcacheError` after `LOAD_TIMEOUT` seconds and after `cancel`.
        """
        answer = self._next.get(key)
        if answer is None:
            answer = self._next[key] = asyncio.get_running_loop().create_future()
            task = asyncio.ensure_future(self._run(key, answer, self._running.get(key)))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, key, answer))
        # A reader that gives up waiting leaves the load to the others.
        await asyncio.wait([answer], timeout=LOAD_TIMEOUT)
        if not answer.done():
            raise GroupcacheError(f"a load has taken more than {LOAD_TIMEOUT:.0f} s")
        if answer.cancelled():
            raise GroupcacheError("the cache has ended")
        return answer.result()

    async def _run(self, key: bytes, answer: asyncio.Future[Any], before: asyncio.Future[Any] | None) -> Any:
        if before is not None:
            await asyncio.wait([before], timeout=TURN_TIMEOUT)
        del self._next[key]
        self._running[key] = answer
        return await self._load(keys.decode(key))

    def _ended(self, key: bytes, answer: asyncio.Future[Any], task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        for loads in (self._next, self._running):
            if loads.get(key) is answer:
                del loads[key]
        if task.cancelled():
            answer.cancel()
        elif error := task.exception():
            answer.set_exception(error)
            answer.exception()  # marks it as seen: it need not be logged where no reader waits any more
        else:
            answer.set_result(task.result())

    def cancel(self) -> list[asyncio.Task[Any]]:
        """End all loads; the caller waits for the tasks that are returned."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks
