"""What a process does to the members table between its views: its heartbeat, and the removal of old rows."""

from __future__ import annotations

import asyncio
from typing import Final

from guillotina_groupcache.database import members_table as sql
from guillotina_groupcache.database.members_table import MembersTable

#: Seconds between two removals of rows that have been out for a minute.
CLEAN_EVERY: Final = 20.0
#: Seconds between two heartbeats, and those without one after which a process' heartbeat is overdue.
HEARTBEAT_EVERY: Final = 3.0
OVERDUE_AFTER: Final = 10.0


class Upkeep:
    """Sends the heartbeat of this process and removes old rows, each when it is time."""

    def __init__(self, table: MembersTable) -> None:
        self._table = table
        #: Whose row is this process' own; None: it has written none yet.
        self.incarnation: int | None = None
        self._sent = 0.0
        self._cleaned = 0.0

    async def run(self) -> None:
        """Do what is due. Raises what the database raises."""
        now = asyncio.get_running_loop().time()
        if self.incarnation is not None and now >= self._sent + HEARTBEAT_EVERY:
            self._sent = now
            await self._send_heartbeat(self.incarnation)
        if now >= self._cleaned + CLEAN_EVERY:
            self._cleaned = now
            await self._clean()

    async def _send_heartbeat(self, incarnation: int) -> None:
        async with self._table.transaction():
            # A heartbeat may be lost in a crash, unlike a state: it need not wait for the disk.
            await self._table.fetch("SET LOCAL synchronous_commit TO off")
            await self._table.fetch(sql.HEARTBEAT, incarnation)

    async def _clean(self) -> None:
        async with self._table.transaction():
            if await self._table.fetch(sql.LOCK_TO_CLEAN):
                await self._table.fetch(sql.CLEAN)
