"""The place where a transaction announces what it has changed: a storage's `commit`, decorated (R3, R8, R9).

`Transaction.tpc_finish` awaits it after the last statement that writes and before `strategy.close()`. Where the
database transaction begins is noted too: until something is sent over its connection, nothing was written (R12).
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from guillotina.db.interfaces import IPostgresStorage
from guillotina.exceptions import ConflictError, RestartCommit

from guillotina_groupcache import keys
from guillotina_groupcache.changes import record_keys
from guillotina_groupcache.keys import Kind
from guillotina_groupcache.strategy import GroupcacheStrategy

if TYPE_CHECKING:
    from guillotina_groupcache.utility import GroupcacheUtility

#: Descendants of deleted objects that are named one by one; beyond, everything is renamed.
MAX_DESCENDANTS: Final = 1000

#: What PostgreSQL deletes with an object (ON DELETE CASCADE), without anyone naming it.
_DESCENDANTS: Final = """
WITH RECURSIVE doomed (zoid) AS (
    SELECT zoid FROM {table} WHERE zoid = ANY($1)
    UNION
    SELECT o.zoid FROM {table} o JOIN doomed d ON o.parent_id = d.zoid OR o.of = d.zoid
)
SELECT o.zoid, o.parent_id, o.id, o.of FROM {table} o JOIN doomed USING (zoid) LIMIT $2
"""
_PLACES: Final = "SELECT zoid, parent_id, id, of FROM {table} WHERE zoid = ANY($1)"

#: SQLSTATE classes and codes after which nobody knows whether a COMMIT took effect: connection exceptions,
#: and a server that is shut down or has crashed (PostgreSQL, appendix A).
_UNANSWERED: Final = ("08", "57P01", "57P02", "57P03")


def decorate(storage: Any, utility: GroupcacheUtility) -> None:
    """Make a storage announce what is committed through it, for as long as it lives.

    Doing it twice is doing it once. After the utility's end a commit that the other processes would have to
    learn of fails: they could not.
    """
    if getattr(storage.commit, "announces", False):
        return
    commit = storage.commit

    @functools.wraps(commit)
    async def announced_commit(transaction: Any) -> Any:
        if transaction._db_txn is None:
            return await commit(transaction)
        strategy = transaction._cache
        if not isinstance(strategy, GroupcacheStrategy):
            strategy = GroupcacheStrategy(transaction)
        changed, everything = await _changed(storage, transaction, strategy)
        async with announced(utility, strategy._database, changed, everything) as event:
            result = await commit(transaction)
            event.pushes = list(strategy.pushes())
            return result

    announced_commit.announces = True  # type: ignore[attr-defined]
    storage.commit = announced_commit
    storage.start_transaction = _noted(storage.start_transaction)


def _noted(start: Any) -> Any:
    @functools.wraps(start)
    async def start_transaction(transaction: Any, *arguments: Any, **named: Any) -> Any:
        result = await start(transaction, *arguments, **named)
        if isinstance(transaction._cache, GroupcacheStrategy):
            transaction._cache.began()
        return result

    return start_transaction


class Event:
    """An event under way; what is put into `pushes` is given to its owners when it is settled."""

    __slots__ = ("pushes",)

    def __init__(self) -> None:
        self.pushes: list[tuple[bytes, bytes]] = []


@asynccontextmanager
async def announced(
    utility: GroupcacheUtility, database: str, changed: Iterable[bytes], everything: bool = False
) -> AsyncIterator[Event]:
    """Announce, run the block, and settle however it ends (R9).

    Where the block ends with an error that leaves open whether the database has done it, the event stays in
    doubt until the database says that it is over.
    """
    number = await utility.announce(database, changed, everything)
    event = Event()
    try:
        yield event
    except BaseException as error:
        if was_answered(error):
            utility.settle(number)
        else:
            utility.lost(number)
        raise
    utility.settle(number, event.pushes)


def was_answered(error: BaseException) -> bool:
    """Whether an error of COMMIT is the database's own no, so that the transaction is over."""
    if isinstance(error, (ConflictError, RestartCommit)):
        return True
    return isinstance(error, asyncpg.PostgresError) and not str(error.sqlstate).startswith(_UNANSWERED)


async def _changed(storage: Any, transaction: Any, strategy: GroupcacheStrategy) -> tuple[set[bytes], bool]:
    """All keys that a transaction about to commit can have changed, or everything (R11)."""
    changed, everything = strategy.changed()
    if everything or not IPostgresStorage.providedBy(storage):
        return changed, everything or bool(transaction.deleted)
    if unseen := strategy.unseen():
        # Another connection sees the rows as they were before this transaction.
        async with storage.pool.acquire(timeout=storage._conn_acquire_timeout) as connection:
            rows = await connection.fetch(_PLACES.format(table=storage.objects_table_name), unseen)
        for row in rows:
            changed.update(record_keys(strategy._database, row, with_lists=True))
    if transaction.deleted:
        async with storage.acquire(transaction, "groupcache_descendants") as connection:
            doomed, everything = await doomed_keys(
                connection, strategy._database, storage.objects_table_name, list(transaction.deleted)
            )
        changed |= doomed
    return changed, everything


async def doomed_keys(connection: Any, database: str, table: str, oids: list[str]) -> tuple[set[bytes], bool]:
    """The keys of objects that are deleted and of all that goes with them, or everything if that is too much."""
    rows = await connection.fetch(_DESCENDANTS.format(table=table), oids, MAX_DESCENDANTS + 1)
    if len(rows) > MAX_DESCENDANTS:
        return set(), True
    doomed: set[bytes] = set()
    for row in rows:
        doomed.update(record_keys(database, row, with_lists=True))
        for kind in (Kind.KEYS, Kind.LEN, Kind.ANNOTATION_KEYS):
            doomed.add(keys.encode(database, kind, row["zoid"]))
    return doomed, False
