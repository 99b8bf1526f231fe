"""The cache of this process: its life, its reads and its events. One an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any, Final

import msgspec
from zope.interface import implementer

from guillotina_groupcache import keys, metrics, near_cache, peer_stats, records
from guillotina_groupcache.database.alone import Alone
from guillotina_groupcache.database.loader import Loader, SharedLoads
from guillotina_groupcache.database.members import Members
from guillotina_groupcache.display import printable, shown
from guillotina_groupcache.interfaces import (
    ConfigurationError,
    GroupcacheError,
    IGroupcacheUtility,
    RecordError,
)
from guillotina_groupcache.native import (
    MAX_DATABASE_ID,
    MAX_DATABASES,
    Completion,
    CompletionKind,
    Found,
    Missed,
    Node,
    Source,
    unpack,
    unpack_result,
    unpack_results,
)
from guillotina_groupcache.near_cache import NearCache, Place
from guillotina_groupcache.requests import Requests
from guillotina_groupcache.settings import limits
from guillotina_groupcache.settings import model as settings
from guillotina_groupcache.settings.role import (
    Role,
    described,
    is_referee,
    node_config,
    process_settings,
    role_of,
    why_uncached,
)
from guillotina_groupcache.throttled import Throttled

logger = logging.getLogger("guillotina_groupcache")
_lines: Final = Throttled(logger)

#: Seconds that a commit waits for its announcement: it has to outlast a lease that others are waited for.
ANNOUNCE_TIMEOUT: Final = 30.0
#: Seconds that loads may take to end that the cache's end has cancelled.
END_TIMEOUT: Final = 2.0
#: Characters of a line that the library logs: one about a panic has the stack.
MAX_LINE: Final = 16_384
#: Seconds that leaving may take: saying bye, and removing the row.
LEAVE_TIMEOUT: Final = 2.0

# What reads compare with: to look a member up in its class takes a function of the module enum.
_VALUES: Final = CompletionKind.VALUES
_BYPASS: Final = Missed.BYPASS
_NOWHERE: Final = Source.NOWHERE


@implementer(IGroupcacheUtility)
class GroupcacheUtility:
    """See `IGroupcacheUtility`, the contract."""

    def __init__(self) -> None:
        self.settings = settings.Settings()
        self._role: Role | None = None  # the first database decides
        self._ended = False
        self._adding = asyncio.Lock()
        self._node: Node | None = None
        self.decoded = NearCache(memoryview(b""), 0)  # that of the node
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loader = Loader()
        self._shared = SharedLoads(self._loader.load_one)
        self._members = Members(self._answer, self._register)
        self._alone = Alone(self._loader.remove, self._trust)
        self._doubt: int | None = None  # an event over everything, as long as nothing may be served
        self._requests = Requests()
        self._announcements = Requests()  # by event
        self._tasks: set[asyncio.Task[None]] = set()

    # --- life

    async def initialize(self, app: Any = None) -> None:
        if self._role is None or self._ended:
            self.settings = process_settings()
            self._role, self._ended = None, False

    async def add_database(self, database: Any, new: bool = False) -> bool:
        """Serve a Guillotina database from now on; False where it must not be cached, which is logged.

        The library is loaded with the first one, in a cluster with the first on PostgreSQL, which holds the
        members table. Of a `new` database nothing can be cached anywhere. Raises as `initialize` does.
        """
        async with self._adding:
            if self._role is None:
                await self.initialize()
                self._role = role_of(self.settings, database.storage)
            if why := why_uncached(self.settings, self._role, database.storage):
                logger.warning("groupcache: the database %s is not cached: %s", database.id, why)
                return False
            word = None if self._node is None else _word(self._node, database.id)
            if self._role is Role.ALONE and is_referee(database.storage):
                await self._alone.claim(database.id, database.storage)
            self._loader.add(database)
            if is_referee(database.storage):
                outside = self._members.add(database.id, database.storage)
                if self._role is Role.ALONE:
                    self._alone.watch(database.id, outside)
                if self._role is Role.MEMBER:
                    await self._members.claim(database.id)
            if word is not None:
                self._members.serve(database.id, word)
            elif self._role is Role.ALONE or is_referee(database.storage):
                await self._open(self._role, database, new)
            return True

    async def _open(self, role: Role, database: Any, new: bool) -> None:
        loop = asyncio.get_running_loop()
        limits.check(self.settings.size)
        near_size = near_cache.share(self.settings.size)
        config = await node_config(self.settings, role, database.storage, near_size)
        with ThreadPoolExecutor(1) as executor:  # the loop's own would leave its thread behind
            opening = loop.run_in_executor(executor, Node, config)
            try:
                node = await asyncio.shield(opening)
            except asyncio.CancelledError:
                (await opening).close()
                raise
        self._node, self._loop = node, loop
        self.decoded = NearCache(node.table, near_size)
        loop.add_reader(node.fd, self._drain)
        metrics.register(self.local_stats)
        logger.info("groupcache: %s", described(self.settings, role, node.stats()["address"]))
        if role is Role.MEMBER:
            await self._members.create(database.id, new)
        for id_ in self._loader:
            self._members.serve(id_, _word(node, id_))
        self._members.start()

    def serves(self, database: str) -> bool:
        """Whether a database's keys go through this cache."""
        return self._node is not None and database in self._loader

    def remove_database(self, database: str) -> None:
        """Serve a database no more: its connections are about to be closed."""
        self._loader.remove(database)
        self._members.remove(database)
        if self._node is not None:
            self._node.unserve(database)

    @property
    def storages(self) -> list[Any]:
        """The PostgreSQL storages that are served."""
        return self._members.storages

    def database_of(self, storage: Any) -> str | None:
        """Guillotina's id of the database that a PostgreSQL storage is served for, if it is."""
        return self._members.database_of(storage)

    def check_members_table(self) -> None:
        """Raise `ConfigurationError` where there are peers and no database that can be their referee."""
        if self.settings.explicit and not self.settings.alone and not self._members.has_table:
            raise ConfigurationError(
                "groupcache.peers: there is no PostgreSQL database for the members table:"
                " give one, or no listen and no peers"
            )

    async def finalize(self, app: Any = None) -> None:
        node, self._node, self._ended = self._node, None, True
        if node is None or self._loop is None:
            await self._alone.stop()
            return
        metrics.unregister(self.local_stats)
        self.decoded.clear()
        if self._role is Role.MEMBER:
            await self._leave(node)
        self._loop.remove_reader(node.fd)
        await self._members.stop()
        ended = [*self._tasks, *self._shared.cancel()]
        for task in ended:
            task.cancel()
        if ended:
            # asyncpg gives a connection back when the server has confirmed that the statement is cancelled, and
            # waits for that without end.
            _, late = await asyncio.wait(ended, timeout=END_TIMEOUT)
            if late:
                logger.warning("groupcache: the database does not let go of %d loads", len(late))
        self._requests.end()
        self._announcements.end()
        with ThreadPoolExecutor(1) as executor:  # the loop's own would leave its thread behind
            await self._loop.run_in_executor(executor, node.close)
        await self._alone.stop()

    async def _leave(self, node: Node) -> None:
        node.leave()
        while completions := node.drain():  # the removal of the row among them
            self._take(completions)
        try:
            await asyncio.wait_for(self._members.join(), LEAVE_TIMEOUT)
        except asyncio.TimeoutError:
            logger.warning("groupcache: the row in the members table could not be removed")

    # --- completions

    def _drain(self) -> None:
        if self._node is not None:
            self._take(self._node.drain())

    def _take(self, completions: Iterable[Completion]) -> None:
        for completion in completions:
            kind, number, payload = completion
            if kind is _VALUES or kind is CompletionKind.PEER_STATS:
                self._requests.answer(number, payload)
            elif kind is CompletionKind.LOAD:
                self._spawn(self._load(number, unpack(payload)))
            elif kind is CompletionKind.CLEARED:
                self._announcements.answer(number, None)
            elif kind is CompletionKind.DATABASE_QUERY:
                self._members.put(number, msgspec.json.decode(payload))
            elif kind is CompletionKind.LOG:
                level, _, text = payload.decode(errors="replace").partition("\0")
                # Peers have a part in it: a line stays one line.
                logger.log(logging.getLevelName(level.upper()), "groupcache: %s", printable(text[:MAX_LINE]))

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, number: int, wanted: Sequence[bytes]) -> None:
        node = self._node
        try:
            values = await self._loader.load(wanted)
        except Exception as error:
            logger.exception("groupcache: load of %d keys", len(wanted))
            if node is self._node and node is not None:
                node.load_failed(number, repr(error))
            return
        if node is self._node and node is not None:
            node.loaded(number, values)

    def _answer(self, question: int, answer: dict[str, Any]) -> None:
        if self._node is not None:
            self._node.answer(question, answer)

    def _register(
        self, note: int, nonce: int, changed: Iterable[bytes], everything: bool, rows: int, application: str
    ) -> None:
        if self._node is not None:
            self._node.outside_write(note, nonce, changed, everything, rows, application)
            if self._role is Role.ALONE:
                # It takes no views with which the library would apply it.
                self._node.settle(self._node.announce("", changed, everything))

    def _trust(self, may: bool) -> None:
        """Serve nothing, or serve again: of a process that is alone, which has no deadlines."""
        if self._node is None:
            return
        if may and self._doubt is not None:
            self._node.settle(self._doubt)
            self._doubt = None
        elif not may and self._doubt is None:
            self._doubt = self._node.announce("", (), True)

    # --- reads

    async def get(self, key: bytes, place: Place | None = None) -> tuple[Any, Source]:
        """The value of a key as the database held it at an instant of this call, and where it came from.

        It may be `records.ABSENT` or `records.TOO_LARGE`. With `Source.NOWHERE` there is none: ask the
        database, which raises what there is to raise. What was in this process' memory is kept decoded at
        `place`, if there is one.
        """
        node = self._node
        if node is None:
            return None, _NOWHERE
        number = self._requests.number()
        found = node.get(key, number)
        if type(found) is Found:
            return self._kept(found, place)
        if found is _BYPASS:
            return await self._bypass(key)
        try:
            # The library answers every request within 30 s (loadTimeout), and `finalize` ends those that wait.
            source, data = unpack_result(await self._requests.expect(number))
        except GroupcacheError:
            return None, _NOWHERE
        finally:
            self._requests.forget(number)
        return _decoded(source, data)

    def find(self, key: bytes, place: Place | None = None) -> tuple[Any, Source]:
        """The same from this process' memory alone: where it is not there, or in doubt, `Source.NOWHERE`."""
        found = None if self._node is None else self._node.get(key)
        return self._kept(found, place) if type(found) is Found else (None, _NOWHERE)

    def _kept(self, found: Found, place: Place | None) -> tuple[Any, Source]:
        value, source = _decoded(found.source, found.value)
        return value if place is None else self.decoded.keep(place, value, found), source

    async def _bypass(self, key: bytes) -> tuple[Any, Source]:
        try:
            value = await self._shared.get(key)
            # Rows cannot be changed; a list is everyone's own.
            return list(value) if isinstance(value, list) else value, Source.BYPASS
        except Exception as error:
            # Guillotina's own load follows, and its exception is the user's.
            logger.debug("groupcache: bypass failed: %r", error)
            return None, Source.NOWHERE

    async def get_many(
        self, wanted: Sequence[bytes], places: Sequence[Place | None] | None = None, wait: bool = True
    ) -> list[tuple[Any, Source]]:
        """The same for many keys: one request to each peer, one query for what no process has.

        Without `wait` it gives what is in this process' memory, as `find` does.
        """
        node = self._node
        values: list[tuple[Any, Source]] = [(None, Source.NOWHERE)] * len(wanted)
        if node is None:
            return values
        missing = []
        for i, (key, place) in enumerate(zip(wanted, places or repeat(None), strict=False)):
            found = node.get(key)
            if isinstance(found, Found):
                values[i] = self._kept(found, place)
            elif found is not _BYPASS and wait:
                missing.append(i)
        if missing:
            for i, value in zip(missing, await self._read(node, [wanted[i] for i in missing]), strict=True):
                values[i] = value
        return values

    async def warm(self, wanted: Sequence[bytes]) -> None:
        """Get keys into this process' memory at once, for reads that follow one by one."""
        node = self._node
        if node is None:
            return
        number, waiter = self._requests.ask()
        try:
            if node.warm(number, wanted):
                await waiter
        except GroupcacheError as error:
            logger.debug("groupcache: not warmed: %s", error)
        finally:
            self._requests.forget(number)

    async def _read(self, node: Node, wanted: Sequence[bytes]) -> list[tuple[Any, Source]]:
        number, waiter = self._requests.ask()
        try:
            node.read(number, wanted)
            results = unpack_results(await waiter)
        except GroupcacheError:
            return [(None, _NOWHERE)] * len(wanted)
        finally:
            self._requests.forget(number)
        return [_decoded(source, data) for source, data in results]

    # --- events

    async def announce(self, database: str, changed: Iterable[bytes], everything: bool = False) -> int:
        """Announce what a transaction that has written may change; return when COMMIT may be sent (R3).

        The event's number goes to `settle`, or to `lost`, however the transaction ends. Raises
        `GroupcacheError` where the announcement could not be made in `ANNOUNCE_TIMEOUT`: nothing may be
        committed then, and the event is settled already.
        """
        node = self._node
        if node is None:
            if self._role is not Role.MEMBER:
                return 0  # there is nobody to tell, and nothing cached
            state = "ended" if self._ended else "not begun"
            raise GroupcacheError(f"the cache has {state}: a commit could not be announced")
        event = node.announce(database, changed, everything)
        try:
            await asyncio.wait_for(self._announcements.expect(event), ANNOUNCE_TIMEOUT)
        except BaseException as error:
            self.settle(event)
            if isinstance(error, asyncio.TimeoutError):
                raise GroupcacheError(
                    f"a commit could not be announced to all members within {ANNOUNCE_TIMEOUT:.0f} s"
                ) from None
            raise
        finally:
            self._announcements.forget(event)
        return event

    def settle(self, event: int, pushes: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Settle an event: the answer to COMMIT or ROLLBACK has come, or neither was sent."""
        if self._node is not None:
            self._node.settle(event, pushes)

    def lost(self, event: int) -> None:
        """The answer to COMMIT was lost: the database will say when the transaction is over (R9)."""
        if self._node is not None:
            self._node.lost(event)

    def mark_of(self, storage: Any) -> str:
        """What announced statements on a storage's database begin with (R14); empty where nobody hears of them."""
        return self._members.mark_of(storage)

    async def take_notes(self, storage: Any, connection: Any) -> tuple[set[bytes], bool]:
        """What raw SQL in a member's own transaction has changed, to be announced with it (`OutsideWrites.take`)."""
        outside = self._members.outside_writes_of(storage)
        return (set(), False) if outside is None else await outside.take(connection)

    def version(self, key: bytes) -> int | None:
        """The version that a key has now; None while it is read from the database (`Node.version`)."""
        return None if self._node is None else self._node.version(key)

    async def invalidate(self, database: str, changed: Iterable[bytes], everything: bool = False) -> None:
        """Rename keys, or everything, in the whole cluster, without a transaction."""
        self.settle(await self.announce(database, changed, everything))

    async def clear(self) -> None:
        # An event names a database, whatever it renames. The first one is served by every process.
        await self.invalidate(next(iter(self._loader), ""), (), everything=True)

    # --- statistics

    @property
    def is_alone(self) -> bool:
        """Whether this process takes no part in a cluster."""
        return self._role is not Role.MEMBER

    def local_stats(self) -> dict[str, Any]:
        """The statistics of this process, at once; empty before `initialize` and after `finalize`."""
        return {} if self._node is None else self._node.stats()

    async def get_stats(self, cluster: bool = False) -> dict[str, Any]:
        stats = self.local_stats()
        if cluster and self._node is not None:
            number, waiter = self._requests.ask()
            self._node.peer_stats(number)
            stats["peers"] = peer_stats.decode(await waiter)
        return stats


def _word(node: Node, database: str) -> int:
    """Where the deadline of a database lies. Raises `ConfigurationError` for one that cannot be served."""
    if len(database.encode(errors="replace")) > MAX_DATABASE_ID:
        raise ConfigurationError(
            f"databases: {shown(database)} is too long an id: a process caches databases with at most"
            f" {MAX_DATABASE_ID} bytes"
        )
    word = node.database(database, keys.prefix(database))
    if word is None:
        raise ConfigurationError(
            f"databases: {database!r} is one too many: a process caches at most {MAX_DATABASES} in its life"
        )
    return word


def _decoded(source: Source, data: bytes) -> tuple[Any, Source]:
    if source is _NOWHERE:
        return None, _NOWHERE
    try:
        return records.decode(data), source
    except RecordError as error:
        # A peer of another version may write what this one does not know: the user must not learn of it.
        _lines.warning("value", "groupcache: a cached value was not used: %s", error)
        return None, _NOWHERE
