"""A process that is alone (`peers: []`) has no members table: its claims (R15), and what is written past it (R14)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg
from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache.lines import TIMEOUT, Line
from guillotina_groupcache.outside_writes import OutsideWrites
from guillotina_groupcache.served import REFRESH_EVERY, Served, cluster_alone

#: Seconds between two looks at what was written from outside: as between the views of a member.
LOOK_EVERY: Final = 0.75
#: What a database raises that does not answer.
_AWAY: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.TimeoutError)


class _Held:
    """A database that this process has claimed."""

    __slots__ = ("line", "outside", "refreshed", "served")

    def __init__(self, served: Served, line: Line) -> None:
        self.served = served
        self.line = line
        self.refreshed = time.monotonic()
        self.outside: OutsideWrites | None = None


class Alone:
    """Claims PostgreSQL databases for one process, and looks at them until it ends."""

    __slots__ = ("_cluster", "_held", "_lost", "_task")

    def __init__(self, lost: Callable[[str], None]) -> None:
        """`lost` is called with the id of a database that others have begun to serve while this process stood still."""
        self._lost = lost
        self._cluster = cluster_alone(secrets.randbits(64))
        self._held: dict[str, _Held] = {}
        self._task: asyncio.Task[None] | None = None

    async def claim(self, database: str, storage: PostgresqlStorage) -> None:
        """Claim a database before it is served. Raises as `Served.claim` does."""
        served, line = Served(database, storage), Line(storage)
        try:
            await served.claim(await line.connection(), self._cluster)
        except BaseException:
            line.disconnect()
            raise
        self._held[database] = _Held(served, line)
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    def watch(self, database: str, outside: OutsideWrites) -> None:
        """Read what is written to a claimed database from outside, from now on."""
        # A mark of its own: one that stood still may have lost its claim, and write with the mark that it had.
        outside.serve(self._cluster)
        self._held[database].outside = outside

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for database, held in list(self._held.items()):
                try:
                    if await asyncio.wait_for(self._look(held), TIMEOUT):
                        continue
                except _AWAY:
                    held.line.disconnect()
                    continue
                held.line.disconnect()
                del self._held[database]
                self._lost(database)

    async def _look(self, held: _Held) -> bool:
        connection = await held.line.connection()
        if (now := time.monotonic()) >= held.refreshed + REFRESH_EVERY:
            held.refreshed = now
            if not await held.served.refresh(connection, self._cluster):
                return False
        if held.outside is not None:
            await held.outside.take_all(connection)
        return True

    async def stop(self) -> None:
        """End, and give the claims up. Doing it twice is doing it once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        claims, self._held = self._held, {}
        for held in claims.values():
            with suppress(*_AWAY):
                await asyncio.wait_for(self._release(held), TIMEOUT)
            held.line.disconnect()

    async def _release(self, held: _Held) -> None:
        await held.served.release(await held.line.connection(), self._cluster)
