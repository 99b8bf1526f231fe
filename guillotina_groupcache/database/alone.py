"""A process that is alone (`peers: []`): it claims its databases (R15) and reads what is written from outside (R14).

Other processes do both with their views of the members table, which this one does not have.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache.database.claims import REFRESH_EVERY, Claim, cluster_alone
from guillotina_groupcache.database.connections import ERRORS, TIMEOUT, OwnConnection, end
from guillotina_groupcache.database.databases import LOOK_TIMEOUT
from guillotina_groupcache.database.outside_writes import OutsideWrites
from guillotina_groupcache.settings.model import LEASE

logger = logging.getLogger("guillotina_groupcache")

#: Seconds between two looks at what was written from outside: as between the views of a member.
LOOK_EVERY: Final = 0.75


class _Held:
    """A database that this process has claimed."""

    def __init__(self, claim: Claim, connection: OwnConnection) -> None:
        self.looked = time.monotonic()  # when the last look that succeeded began
        self.task: asyncio.Task[None] | None = None
        self.claim = claim
        self.connection = connection
        self.refreshed = time.monotonic()
        self.outside: OutsideWrites | None = None


class Alone:
    """Claims PostgreSQL databases for one process, and looks at them until it ends."""

    def __init__(self, lost: Callable[[str], None], trust: Callable[[bool], None]) -> None:
        """`lost` is called with the id of a database that others have begun to serve while this process stood still.

        `trust` is called with False when a database cannot be looked at, so that nothing may be served, and with True
        when all databases can be looked at again.
        """
        self._lost = lost
        self._trust = trust
        self._unreachable: set[str] = set()  # databases that cannot be looked at
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
        # No other process has this mark: one that stood still may have lost its claim, and still writes with its mark.
        outside.serve(self._cluster)
        self._held[database].outside = outside

    async def _run(self, database: str, held: _Held) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            began = time.monotonic()
            try:
                if not await asyncio.wait_for(self._look(held), LOOK_TIMEOUT):
                    break
            except ERRORS as error:
                held.connection.disconnect()
                self._judge(database, held, error)
            else:
                held.looked = began
                self._judge(database, held)
        held.connection.disconnect()
        del self._held[database]
        self._lost(database)
        if database in self._unreachable:
            self._unreachable.discard(database)
            self._trust(not self._unreachable)

    def _judge(self, database: str, held: _Held, error: BaseException | None = None) -> None:
        """Judge a look that has ended. One that began a lease ago shows nothing of what was written since (R2)."""
        blind = held.outside is not None and held.outside.is_blind
        if not blind and time.monotonic() < held.looked + LEASE - LOOK_EVERY:
            if database in self._unreachable:
                self._unreachable.discard(database)
                logger.info("groupcache: the database %s can be looked at again", database)
                self._trust(not self._unreachable)
        elif database not in self._unreachable:
            self._unreachable.add(database)
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
        """End, and give the claims up. A second call does nothing."""
        claims, self._held = self._held, {}
        await end([held.task for held in claims.values() if held.task is not None])
        for held in claims.values():
            held.connection.disconnect()  # a look that was cancelled in its BEGIN has left a transaction open there
            with suppress(*ERRORS):
                await asyncio.wait_for(self._release(held), TIMEOUT)
            held.connection.disconnect()

    async def _release(self, held: _Held) -> None:
        await held.claim.release(await held.connection.get(), self._cluster)
