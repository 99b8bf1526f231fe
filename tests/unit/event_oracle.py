"""The oracle of R11: an event holds every key whose value, loaded by Guillotina itself, differs before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import asyncpg
from guillotina.annotations import AnnotationData
from guillotina.const import ROOT_ID, TRASHED_ID
from guillotina.db.transaction import _EMPTY, Transaction
from guillotina.registry import REGISTRY_DATA_KEY
from guillotina.transactions import transaction

from guillotina_groupcache import keys, records
from guillotina_groupcache.constants import Source
from guillotina_groupcache.database.loader import Loader
from guillotina_groupcache.keys import Key, Kind
from tests.unit.event_universe import NAMES, DbVacuum, Operation, World, begin
from tests.unit.life_app import DATABASE, App

#: What the database gives for an object id that was never used.
NOTHING: Final[dict[Kind, Any]] = {
    Kind.OBJECT: records.ABSENT,
    Kind.CHILD: records.ABSENT,
    Kind.ANNOTATION: _EMPTY,
    Kind.KEYS: [],
    Kind.LEN: 0,
    Kind.ANNOTATION_KEYS: [],
}
Values = dict[Key, Any]


class OwnLoader(Loader):
    """The loads of the cache, on a connection of their own."""

    __slots__ = ("_connection",)

    def __init__(self, connection: asyncpg.Connection) -> None:
        super().__init__()
        self._connection = connection

    def _open(self, database: str) -> tuple[Any, Transaction]:
        storage, transaction = super()._open(database)
        transaction._db_conn = self._connection
        return storage, transaction


class Oracle:
    """Sees every event of one process, and knows what the database holds."""

    def __init__(self, app: App, connection: asyncpg.Connection) -> None:
        self.app = app
        self.connection = connection
        self.counts: Counter[str] = Counter()
        self._named: set[bytes] = set()
        self._everything = False
        self.world: World | None = None
        self._before: Values = {}
        self._loader = OwnLoader(connection)
        self._loader.add(app.database)
        announce = app.utility.events.announce

        async def seen(database: str, changed: Iterable[bytes], everything: bool = False) -> int:
            changed = set(changed)
            self._named |= changed
            self._everything |= everything
            return await announce(database, changed, everything)

        app.utility.events.announce = seen  # type: ignore[method-assign]

    async def begin(self, world: World) -> None:
        """Begin with a database that holds its root, and nothing else."""
        self.world = world
        begin(world)
        await self.connection.execute(f"DELETE FROM objects WHERE zoid NOT IN ('{ROOT_ID}', '{TRASHED_ID}')")
        self.app.database.get_transaction_manager()._hard_cache.clear()
        await self.app.utility.clear()
        self._before = await self.load(world)
        assert not await self.misread({}, self._before)
        self._forget()

    def _forget(self) -> None:
        self._named.clear()
        self._everything = False

    async def check(self, world: World, operation: Operation) -> None:
        """After each commit: every change was announced, and the cache gives what the database holds."""
        before, after = self._before, await self.load(world)
        self._count(operation, before, after)
        faults = self.unannounced(before, after)
        self._forget()
        faults += await self.misread(before, after)
        self._before = after
        assert not faults, "\n".join([f"{operation}:", *faults])

    def _count(self, operation: Operation, before: Values, after: Values) -> None:
        if isinstance(operation, DbVacuum) or not (self._named or self._everything):
            return
        self.counts["events"] += 1
        self.counts["everything"] += self._everything
        self.counts["vain"] += before == after

    async def load(self, world: World) -> Values:
        """The value of every key of the universe, as Guillotina loads it."""
        values = {}
        for key in all_keys(world.universe()):
            values[key] = _plain(key, await self._loader.load_one(key))
        return _without_ambiguous(values)

    async def warm(self, world: World, operation: Operation | None = None) -> None:
        """Read every key into the cache."""
        await self.app.utility.reads.get_many([keys.encode(*key) for key in all_keys(world.universe())])

    async def read(self, key: Key) -> Any:
        """The value of a key, from the cache."""
        value, source = await self.app.utility.reads.get(keys.encode(*key))
        assert source is not Source.NOWHERE
        return _plain(key, value)

    def unannounced(self, before: Values, after: Values) -> list[str]:
        """The keys that have changed and were in no event, with their values before and after."""
        found = []
        for key, value in after.items():
            was = before.get(key, NOTHING[key.kind])
            if was != value and not self._everything and keys.encode(*key) not in self._named:
                found.append(f"not announced: {_shown(key, was, value)}")
        return found

    async def misread(self, before: Values, values: Values) -> list[str]:
        """The keys for which the cache gives another value than the database holds.

        Not asked again through a transaction: what is not there, and was not, which it asks the database.
        """
        found = []
        answers = await self.app.utility.reads.get_many([keys.encode(*key) for key in values])
        for (key, value), (got, source) in zip(values.items(), answers, strict=True):
            if source is not Source.NOWHERE and _plain(key, got) != value:
                found.append(f"read from the cache: {_shown(key, got, value)}")
        async with transaction(db=self.app.database, read_only=True, abort_when_done=True) as txn:
            txn._db_conn = await self.app.database.storage.open()
            for key, value in values.items():
                if value is records.ABSENT is before.get(key, value):
                    continue
                got = _plain(key, await _READS[key.kind](txn, key))
                if got != value:
                    found.append(f"read by a transaction: {_shown(key, got, value)}")
        return found


def all_keys(oids: Iterable[str]) -> Iterable[Key]:
    """Every key that an object id and `NAMES` can make."""
    for oid in oids:
        for kind in (Kind.OBJECT, Kind.KEYS, Kind.LEN, Kind.ANNOTATION_KEYS):
            yield Key(DATABASE, kind, oid)
        for name in NAMES:
            yield Key(DATABASE, Kind.CHILD, oid, name)
        for name in (*NAMES, REGISTRY_DATA_KEY):
            yield Key(DATABASE, Kind.ANNOTATION, oid, name)


def _plain(key: Key, value: Any) -> Any:
    """A value as it is compared: rows as dictionaries, and ids in one order, as the database promises none."""
    if isinstance(value, list):
        return sorted(value, key=repr)
    return dict(value) if isinstance(value, (dict, asyncpg.Record)) else value


def _without_ambiguous(values: Values) -> Values:
    """Without the children of the trash that share an id: the database gives any of them."""
    ids = Counter(values[Key(DATABASE, Kind.KEYS, TRASHED_ID)])
    return {
        key: value
        for key, value in values.items()
        if key.kind is not Kind.CHILD or key.oid != TRASHED_ID or ids[key.name] < 2
    }


def _shown(key: Key, was: Any, value: Any) -> str:
    return f"{key.kind.name} {key.oid!r} {key.name!r}: {_short(was)} → {_short(value)}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "row " + " ".join(f"{name}={value.get(name)!r}" for name in ("zoid", "tid", "of", "parent_id", "id"))
    return repr(value)


def _owner(oid: str) -> Any:
    owner = AnnotationData()
    owner.__uuid__ = oid
    return owner


async def _object(txn: Any, key: Key) -> Any:
    try:
        return await txn._get(key.oid)
    except KeyError:
        return records.ABSENT


async def _child(txn: Any, key: Key) -> Any:
    row = await txn._get_child(_owner(key.oid), key.name)
    return records.ABSENT if row is None else row


_READS: Final[dict[Kind, Callable[[Any, Key], Awaitable[Any]]]] = {
    Kind.OBJECT: _object,
    Kind.CHILD: _child,
    Kind.ANNOTATION: lambda txn, key: txn._get_annotation(_owner(key.oid), key.name),
    Kind.KEYS: lambda txn, key: txn.keys(key.oid),
    Kind.LEN: lambda txn, key: txn.len(key.oid),
    Kind.ANNOTATION_KEYS: lambda txn, key: txn.get_annotation_keys(key.oid),
}
