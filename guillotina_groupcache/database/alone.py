"""A process that is alone (`peers: []`) has no members table: its claims (R15), and what is written past it (R14)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg
from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache.database.claims import REFRESH_EVERY, Claim, cluster_alone
from guillotina_groupcache.database.connections import TIMEOUT, OwnConnection
from guillotina_groupcache.database.databases import LOOK_TIMEOUT
from guillotina_groupcache.database.outside_writes import OutsideWrites
from guillotina_groupcache.settings.model import LEASE

logger = logging.getLogger("guillotina_groupcache")

#: Seconds between two looks at what was written from outside: as between the views of a member.
LOOK_EVERY: Final = 0.75
#: What a database raises that does not answer.
_AWAY: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.TimeoutError)


class _Held:
    """A database that this process has claimed."""

    __slots__ = ("claim", "connection", "looked", "outside", "refreshed", "task")

    def __init__(self, claim: Claim, connection: OwnConnection) -> None:
        self.looked = time.monotonic()  # when a look that has succeeded began
        self.task: asyncio.Task[None] | None = None
        self.claim = claim
        self.connection = connection
        self.refreshed = time.monotonic()
        self.outside: OutsideWrites | None = None


class Alone:
    """Claims PostgreSQL databases for one process, and looks at them until it ends."""

    __slots__ = ("_away", "_cluster", "_held", "_lost", "_trust")

    def __init__(self, lost: Callable[[str], None], trust: Callable[[bool], None]) -> None:
        """`lost` is called with the id of a database that others have begun to serve while this process stood still.

        `trust` is called with False when a database cannot be looked at, so that nothing may be served, and with True
        when all can be again.
        """
        self._lost = lost
        self._trust = trust
        self._away: set[str] = set()  # the databases that cannot be looked at
        self._cluster = cluster_alone(secrets.randbits(64))
        self._held: dict[str, _Held] = {}

    async def claim(self, database: str, storage: PostgresqlStorage) -> None:
        """Claim a database before it is served. Raises as `Claim.acquire` does."""
        claim, connection = Claim(database, storage), OwnConnection(storage)
        try:
            await claim.acquire(await connection.get(), self._cluster)
        except BaseException:
            connection.disconnect()
            raise
        held = self._held[database] = _Held(claim, connection)
        held.task = asyncio.ensure_future(self._run(database, held))

    def watch(self, database: str, outside: OutsideWrites) -> None:
        """Read what is written to a claimed database from outside, from now on."""
        # A mark of its own: one that stood still may have lost its claim, and write with the mark that it had.
        outside.serve(self._cluster)
        self._held[database].outside = outside

    async def _run(self, database: str, held: _Held) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            began = time.monotonic()
            try:
                if not await asyncio.wait_for(self._look(held), LOOK_TIMEOUT):
                    break
            except _AWAY as error:
                held.connection.disconnect()
                self._note(database, held, error)
            else:
                held.looked = began
                self._note(database, held)
        held.connection.disconnect()
        del self._held[database]
        self._lost(database)
        if database in self._away:
            self._away.discard(database)
            self._trust(not self._away)

    def _note(self, database: str, held: _Held, error: BaseException | None = None) -> None:
        """Take note of a look: what is older than a lease says nothing of what was written since (R2)."""
        blind = held.outside is not None and held.outside.is_blind
        if not blind and time.monotonic() < held.looked + LEASE - LOOK_EVERY:
            if database in self._away:
                self._away.discard(database)
                logger.info("groupcache: the database %s can be looked at again", database)
                self._trust(not self._away)
        elif database not in self._away:
            self._away.add(database)
            logger.warning(
                "groupcache: the database %s cannot be looked at, and all is read past the cache: %s", database, error
            )
            self._trust(False)

    async def _look(self, held: _Held) -> bool:
        connection = await held.connection.get()
        if (now := time.monotonic()) >= held.refreshed + REFRESH_EVERY:
            held.refreshed = now
            if not await held.claim.refresh(connection, self._cluster):
                return False
        if held.outside is not None:
            await held.outside.take_all(connection)
        return True

    async def stop(self) -> None:
        """End, and give the claims up. Doing it twice is doing it once."""
        claims, self._held = self._held, {}
        for task in (tasks := [held.task for held in claims.values() if held.task is not None]):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for held in claims.values():
            with suppress(*_AWAY):
                await asyncio.wait_for(self._release(held), TIMEOUT)
            held.connection.disconnect()

    async def _release(self, held: _Held) -> None:
        await held.claim.release(await held.connection.get(), self._cluster)
