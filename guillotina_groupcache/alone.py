"""The claims of a process that is alone (`peers: []`), which no members table shows to anybody (R15)."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg
from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache.lines import TIMEOUT, Line
from guillotina_groupcache.served import REFRESH_EVERY, Served, cluster_alone

logger = logging.getLogger("guillotina_groupcache")

#: What a database raises that does not answer.
_AWAY: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.TimeoutError)


class Alone:
    """Claims PostgreSQL databases for one process, and renews the claims until it ends."""

    __slots__ = ("_claims", "_cluster", "_lost", "_task")

    def __init__(self, lost: Callable[[str], None]) -> None:
        """`lost` is called with the id of a database that others have begun to serve while this process stood still."""
        self._lost = lost
        self._cluster = cluster_alone(secrets.randbits(64))
        self._claims: dict[str, tuple[Served, Line]] = {}
        self._task: asyncio.Task[None] | None = None

    async def claim(self, database: str, storage: PostgresqlStorage) -> None:
        """Claim a database before it is served. Raises as `Served.claim` does."""
        served, line = Served(database, storage), Line(storage)
        try:
            await served.claim(await line.connection(), self._cluster)
        except BaseException:
            line.disconnect()
            raise
        self._claims[database] = served, line
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY)
            for database, (served, line) in list(self._claims.items()):
                try:
                    if await asyncio.wait_for(self._refresh(served, line), TIMEOUT):
                        continue
                except _AWAY:
                    line.disconnect()
                    continue
                line.disconnect()
                del self._claims[database]
                self._lost(database)

    async def _refresh(self, served: Served, line: Line) -> bool:
        return await served.refresh(await line.connection(), self._cluster)

    async def stop(self) -> None:
        """End, and give the claims up. Doing it twice is doing it once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        claims, self._claims = self._claims, {}
        for served, line in claims.values():
            with suppress(*_AWAY):
                await asyncio.wait_for(self._release(served, line), TIMEOUT)
            line.disconnect()

    async def _release(self, served: Served, line: Line) -> None:
        await served.release(await line.connection(), self._cluster)
