"""The cache of this process, one per event loop: how it begins, which databases it serves, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from zope.interface import implementer

from guillotina_groupcache import keys, metrics, near_cache, peer_stats
from guillotina_groupcache.completions import Completions
from guillotina_groupcache.constants import MAX_DATABASE_ID, MAX_DATABASES
from guillotina_groupcache.database.alone import Alone
from guillotina_groupcache.database.loader import Loader, SharedLoads
from guillotina_groupcache.database.members import Members
from guillotina_groupcache.display import shown
from guillotina_groupcache.events import Events
from guillotina_groupcache.interfaces import ConfigurationError, IGroupcacheUtility
from guillotina_groupcache.native import Node
from guillotina_groupcache.reads import Reads
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

logger = logging.getLogger("guillotina_groupcache")

#: Seconds within which the loads that `finalize` has cancelled must end.
END_TIMEOUT: Final = 2.0
#: Seconds that leaving may take: saying bye, and removing the row.
LEAVE_TIMEOUT: Final = 2.0


@implementer(IGroupcacheUtility)
class GroupcacheUtility:
    """See `IGroupcacheUtility`, the contract.

    Its parts do the work while it runs: `reads`, `events` and `members`.
    """

    def __init__(self) -> None:
        self.settings = settings.Settings()
        self._role: Role | None = None  # the first database decides
        self._adding = asyncio.Lock()
        self._node: Node | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._requests = Requests()
        self._loader = Loader()
        self._bypass_loads = SharedLoads(self._loader.load_one)
        self.reads = Reads(self._requests, self._bypass_loads)
        self.events = Events()
        self.members = Members(self._answer, self.events.outside_write)
        self._alone = Alone(self._loader.remove, self.events.trust)
        self._completions = Completions(self._requests, self.events.announcements, self._loader, self.members.put)

    async def initialize(self, app: Any = None) -> None:
        if self._role is None or self.events.has_ended:
            self.settings = process_settings()
            self._role = None
            self.events.prepare(None)

    # --- databases

    async def add_database(self, database: Any, new: bool = False) -> bool:
        """Serve a Guillotina database from now on; False where it must not be cached, which is logged.

        The library is loaded with the first database, in a cluster with the first one on PostgreSQL, which holds the
        members table. Nothing of a `new` database can be cached anywhere. Raises as `initialize` does.
        """
        async with self._adding:
            if self._role is None:
                await self.initialize()
                self._role = role_of(self.settings, database.storage)
                self.events.prepare(self._role)
            if why := why_uncached(self.settings, self._role, database.storage):
                logger.warning("groupcache: the database %s is not cached: %s", database.id, why)
                return False
            word = None if self._node is None else _deadline_word(self._node, database.id)
            if self._role is Role.ALONE and is_referee(database.storage):
                await self._alone.claim(database.id, database.storage)
            self._loader.add(database)
            if is_referee(database.storage):
                outside = self.members.add(database.id, database.storage)
                if self._role is Role.ALONE:
                    self._alone.watch(database.id, outside)
                if self._role is Role.MEMBER:
                    await self.members.claim(database.id)
            if word is not None:
                self.members.serve(database.id, word)
            elif self._role is Role.ALONE or is_referee(database.storage):
                await self._open(self._role, database, new)
            return True

    def serves(self, database: str) -> bool:
        """Whether a database's keys go through this cache."""
        return self._node is not None and database in self._loader

    def remove_database(self, database: str) -> None:
        """Stop serving a database whose connections are about to be closed."""
        self._loader.remove(database)
        self.members.remove(database)
        if self._node is not None:
            self._node.unserve(database)

    def check_members_table(self) -> None:
        """Raise `ConfigurationError` where there are peers but no database that can be their referee."""
        if self.settings.explicit and not self.settings.alone and not self.members.has_table:
            raise ConfigurationError(
                "groupcache.peers: there is no PostgreSQL database for the members table:"
                " give one, or no listen and no peers"
            )

    # --- the node

    async def _open(self, role: Role, database: Any, new: bool) -> None:
        loop = asyncio.get_running_loop()
        limits.check(self.settings.size)
        near_size = near_cache.share(self.settings.size)
        config = await node_config(self.settings, role, database.storage, near_size)
        with ThreadPoolExecutor(1) as executor:  # the loop's own executor would keep its thread
            opening = loop.run_in_executor(executor, Node, config)
            try:
                node = await asyncio.shield(opening)
            except asyncio.CancelledError:
                (await opening).close()
                raise
        self._node, self._loop = node, loop
        self.reads.begin(node, near_size)
        self.events.begin(node)
        self._completions.begin(node)
        loop.add_reader(node.fd, self._completions.drain)
        metrics.register(self.local_stats)
        logger.info("groupcache: %s", described(self.settings, role, node.stats()["address"]))
        if role is Role.MEMBER:
            await self.members.create(database.id, new)
        for id_ in self._loader:
            self.members.serve(id_, _deadline_word(node, id_))
        self.members.start()

    def _answer(self, query: int, answer: dict[str, Any]) -> None:
        if self._node is not None:
            self._node.answer(query, answer)

    async def finalize(self, app: Any = None) -> None:
        node, self._node = self._node, None
        self.events.end()
        if node is None or self._loop is None:
            await self._alone.stop()
            return
        metrics.unregister(self.local_stats)
        self.reads.end()
        self._completions.end()
        if self._role is Role.MEMBER:
            await self._leave(node)
        self._loop.remove_reader(node.fd)
        await self.members.stop()
        if loads := [*self._completions.cancel(), *self._bypass_loads.cancel()]:
            # asyncpg releases a connection when the server has confirmed that the statement is cancelled, and it
            # waits for that without a limit.
            _, late = await asyncio.wait(loads, timeout=END_TIMEOUT)
            if late:
                logger.warning("groupcache: %d database loads were not cancelled within %.0f s", len(late), END_TIMEOUT)
        self._requests.end()
        self.events.announcements.end()
        with ThreadPoolExecutor(1) as executor:  # the loop's own executor would keep its thread
            await self._loop.run_in_executor(executor, node.close)
        await self._alone.stop()

    async def _leave(self, node: Node) -> None:
        node.leave()
        while completions := node.drain():  # the removal of the row is among them
            self._completions.take(completions)
        try:
            await asyncio.wait_for(self.members.join(), LEAVE_TIMEOUT)
        except asyncio.TimeoutError:
            logger.warning("groupcache: the row in the members table could not be removed")

    # --- operations

    async def clear(self) -> None:
        # An event names a database, whatever it bumps. The first one is served by every process.
        await self.events.invalidate(next(iter(self._loader), ""), (), everything=True)

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
            number, waiter = self._requests.new()
            self._node.peer_stats(number)
            stats["peers"] = peer_stats.decode(await waiter)
        return stats


def _deadline_word(node: Node, database: str) -> int:
    """The index of the word with a database's deadline. Raises `ConfigurationError` for one that cannot be served."""
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
