"""Views of the members table: its rows, what the cluster's row knows of the databases, and which of these answer.

Before a view the process sends its heartbeat and removes old rows, each when it is time.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import asyncpg
import msgspec

from guillotina_groupcache.database import members_table as sql
from guillotina_groupcache.database import rows as members_rows
from guillotina_groupcache.database.claims import cluster_of
from guillotina_groupcache.database.databases import Databases
from guillotina_groupcache.database.failover import UNREADABLE, Change, Known, decode_known
from guillotina_groupcache.database.members_table import MembersTable
from guillotina_groupcache.display import shown
from guillotina_groupcache.throttled import Throttled

logger = logging.getLogger("guillotina_groupcache")

#: Seconds that a view waits for databases on other servers: a fraction of the lease, which runs meanwhile.
PATIENCE: Final = 0.25
#: A smaller count is taken for this one, so that the number of missing rows fits the library's 64 bits. Only somebody
#: from outside can have written it.
MIN_COUNTED: Final = -(1 << 62)

#: Seconds between two removals of rows that have been out for a minute.
CLEAN_EVERY: Final = 20.0
#: Seconds between two heartbeats, and those without one after which a process' heartbeat is overdue.
HEARTBEAT_EVERY: Final = 3.0
OVERDUE_AFTER: Final = 10.0

Answer = dict[str, Any]


class Views:
    """Takes the views of one process."""

    def __init__(self, table: MembersTable, databases: Databases) -> None:
        self._table = table
        self._databases = databases
        #: Whose row is this process' own; None: it has written none yet.
        self.incarnation: int | None = None
        self._sent = 0.0  # the last heartbeat
        self._cleaned = 0.0
        self._is_gone = False  # the table, as the last view found it
        self._throttled = Throttled(logger)

    async def take(self, asked: int) -> Answer:
        """Take a view that the library asked for at `asked`, by its own clock. Raises what the database raises.

        A table that is gone is made again first, and `LookupError` is raised where the view has to be tried again.
        """
        try:
            await self._keep_up()
            rows, reached = await self._look(asked)
        except asyncpg.UndefinedTableError:
            if not self._is_gone:
                self._is_gone = True
                logger.warning(
                    "groupcache: the members table is gone, or part of it: all processes join anew when it is made"
                )
            await self._table.make()
            raise
        self._is_gone = False
        members, ownerless = members_rows.sorted_out(rows)
        if ownerless:
            await members_rows.remove(self._table.fetch, ownerless, self._throttled)
        missing = max(rows[0]["counted"], MIN_COUNTED) - len(members)
        return {"rows": members, "missing": missing, "counting": rows[0]["counting"], "reached": reached}

    async def _keep_up(self) -> None:
        now = asyncio.get_running_loop().time()
        if self.incarnation is not None and now >= self._sent + HEARTBEAT_EVERY:
            self._sent = now
            async with self._table.transaction():
                # A heartbeat may be lost in a crash, unlike a state: it need not wait for the disk.
                await self._table.fetch("SET LOCAL synchronous_commit TO off")
                await self._table.fetch(sql.HEARTBEAT, self.incarnation)
        if now >= self._cleaned + CLEAN_EVERY:
            self._cleaned = now
            async with self._table.transaction():
                if await self._table.fetch(sql.LOCK_TO_CLEAN):
                    await self._table.fetch(sql.CLEAN)

    async def _look(self, asked: int) -> tuple[list[asyncpg.Record], list[Answer]]:
        """The rows, and which databases have answered, are those that the cluster's row knows, and since which view."""
        table = self._table.database
        await self._keep_claim()
        looks = self._databases.look(asked, table)
        rows = await self.rows()
        if looks:
            await asyncio.wait(looks, timeout=PATIENCE)
        found = self._databases.found(table, rows[0], asked)
        if changes := self._databases.changes(found):
            await self._know(changes)
            rows = await self.rows()
        return rows, await self._databases.reached(found, asked)

    async def _keep_claim(self) -> None:
        """Renew the claim of the table's database, for the cluster that it belongs to now.

        After a failover or a change of DNS another server may be behind its name, and so another cluster's table.
        """
        table = self._table.database
        if not table.is_claim_due:
            return
        cluster = await cluster_of(await table.connection.get(), self._table.schema)
        if cluster != self._databases.cluster:
            self._databases.join(cluster)
        await table.keep_claim(cluster)

    async def rows(self) -> list[asyncpg.Record]:
        """The rows of members, or one without a member. Raises `LookupError` where the view has to be tried again."""
        table = self._table.database
        arguments = (OVERDUE_AFTER, table.table, [database.id for database in self._databases])
        rows = await table.read(
            lambda text: table.connection.fetch(text, *arguments), sql.prepared(sql.VIEW, self._table.schema), 2
        )
        if not rows:
            raise asyncpg.UndefinedTableError("the cluster's row is gone")
        known, unreadable = decode_known(rows[0]["identities"])
        self._databases.know(known)
        if unreadable:
            await self._mend(unreadable, rows[0]["cluster_version"])
        return rows

    async def _mend(self, unreadable: list[str], version: str) -> None:
        """Replace what the cluster's row says of databases and cannot be read: they may have lost commits.

        Raises `LookupError`, as the view has to be tried again.
        """
        self._throttled.warning(
            "identities",
            "groupcache: what the cluster's row in the members table says of the database %s cannot be read",
            ", ".join(map(shown, unreadable[: members_rows.MAX_NAMED])),
        )
        await self._table.fetch(sql.MEND, _encoded(dict.fromkeys(unreadable, UNREADABLE)), version)
        raise LookupError("what the cluster's row said of a database could not be read, and was replaced")

    async def _know(self, changes: list[Change]) -> None:
        """Write into the cluster's row what databases show. If one may have lost commits, all members are out (R13)."""
        async with self._table.transaction():
            lost = []
            for id_, old, new in changes:
                is_written = await self._table.fetch(sql.KNOW, id_, _encoded(new), old and _encoded(old))
                if is_written and new.failovers > (old.failovers if old else 0):
                    lost.append(id_)
            if lost:
                await self._table.fetch(sql.ALL_OUT, "a database may have lost commits")
                logger.warning(
                    "groupcache: the database %s may have lost commits: everything cached is bumped", ", ".join(lost)
                )


def _encoded(known: Known | dict[str, Known]) -> str:
    return msgspec.json.encode(known).decode()
