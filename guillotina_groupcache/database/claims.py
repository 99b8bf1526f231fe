"""R15: one cluster serves an objects table, under one database id. Its claim to the table lies in the database itself.

Two clusters over one table, or two ids for it, hear nothing of each other's writes. The members table cannot show that:
each cluster has its own. So a row beside each objects table says which cluster serves it.

The tension: a row that was left behind must not keep anybody from starting, and a living cluster must not lose its
table. So a claim counts as long as its time advances while another process looks at it, by that process' own clock;
the clocks of two machines are never compared. The numbers guard R2: a process serves for a lease (3 s) after a view
that began at most `REFRESH_EVERY` after the process last saw its claim, which a member had renewed less than
`RENEW_AFTER` before. Together these are less than `PROOF`, so a process that loses a claim no longer serves by it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Final, NamedTuple

import asyncpg
from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache.database.connections import make_tables
from guillotina_groupcache.display import shown
from guillotina_groupcache.interfaces import ConfigurationError

logger = logging.getLogger("guillotina_groupcache")

#: Seconds between two looks at one's own claim, and the age at which such a look renews it.
REFRESH_EVERY: Final = 3.0
RENEW_AFTER: Final = 2.0
#: Seconds for which a claim must stand still before another cluster may take it: more than two renewals take.
PROOF: Final = 8.5
#: Seconds between two looks at somebody's claim at the start.
_PAUSE: Final = 0.25
#: How the cluster of a process that is alone (`peers: []`) begins: there is no members table.
_ALONE: Final = "alone/"

#: Names a cluster by where its members table lies: the same for all its processes, whatever they call the database.
CLUSTER: Final = """
SELECT (SELECT system_identifier FROM pg_control_system()) || '/'
    || (SELECT oid FROM pg_database WHERE datname = current_database()) || '/'
    || (SELECT nspname FROM pg_namespace WHERE oid = to_regnamespace($1))
"""
_CREATE: Final = """
CREATE TABLE IF NOT EXISTS {schema}.groupcache_served (
    relation OID PRIMARY KEY,
    cluster TEXT NOT NULL,
    database TEXT NOT NULL,
    seen TIMESTAMPTZ NOT NULL DEFAULT now()
)
"""
_EXISTS: Final = "SELECT to_regclass('{schema}.groupcache_served') IS NOT NULL"
#: Characters that are read of the names in a claim: somebody may have written anything there.
_MOST: Final = 300
#: The time is read as a text: PostgreSQL has times that Python cannot represent.
_SHOWN: Final = f"left(s.cluster, {_MOST}) AS cluster, left(s.database, {_MOST}) AS database, s.seen::text AS seen"
#: Shows the claim as it was, and renews one's own. A renewal may be lost in a crash: it need not wait for the disk.
_LOOK: Final = f"""
WITH renewed AS (
    UPDATE {{schema}}.groupcache_served SET seen = clock_timestamp()
    WHERE relation = to_regclass($1)::oid AND cluster = $2 AND database = $3
    AND seen NOT BETWEEN clock_timestamp() - interval '{RENEW_AFTER} s' AND clock_timestamp()
)
SELECT t.relation, {_SHOWN}, set_config('synchronous_commit', 'off', true)
FROM (SELECT to_regclass($1)::oid AS relation) t LEFT JOIN {{schema}}.groupcache_served s USING (relation)
"""
#: Another process may have claimed the table since: then an update that changes nothing returns its row.
_INSERT: Final = f"""
INSERT INTO {{schema}}.groupcache_served AS s (relation, cluster, database) VALUES (to_regclass($1)::oid, $2, $3)
ON CONFLICT (relation) DO UPDATE SET relation = s.relation RETURNING {_SHOWN}
"""
_TAKE: Final = f"""
UPDATE {{schema}}.groupcache_served SET cluster = $2, database = $3, seen = clock_timestamp()
WHERE relation = to_regclass($1)::oid AND left(cluster, {_MOST}) = $4 AND left(database, {_MOST}) = $5
AND seen::text = $6 RETURNING 1
"""
_RELEASE: Final = """
DELETE FROM {schema}.groupcache_served WHERE relation = to_regclass($1)::oid AND cluster = $2 AND database = $3
"""
_DATABASE_NAME: Final = """
SELECT datname FROM pg_database WHERE oid::text = $2 AND (SELECT system_identifier::text FROM pg_control_system()) = $1
"""


class Holder(NamedTuple):
    """The claim to an objects table that is in the database."""

    cluster: str
    database: str  #: the id under which it is served
    seen: str  #: when it was renewed, by the database's clock


async def cluster_of(connection: asyncpg.Connection, schema: str) -> str:
    """The cluster whose members table lies in a schema, as the configuration spells it, of a connection's database."""
    cluster: str = await connection.fetchval(CLUSTER, schema)
    return cluster


def cluster_alone(number: int) -> str:
    """The cluster of a process that is alone, by a number that no other process has."""
    return f"{_ALONE}{number:016x}"


class Claim:
    """The claim of this process' cluster to the objects table of one database."""

    def __init__(self, database: str, storage: PostgresqlStorage) -> None:
        """`database` is the id under which the storage is served."""
        self._id = database
        self._schema: str = storage._db_schema
        self._table: str = storage.objects_table_name
        self._rival: Holder | None = None
        self._since = 0.0  # when the rival's claim was first seen as it is
        #: Whether this cluster serves the table, as far as is known.
        self.is_held = False
        #: Whether another cluster has taken the table: the database must not be served.
        self.is_lost = False
        self._is_without = False  # the right to make the table of claims, or to use it

    async def acquire(self, connection: asyncpg.Connection, cluster: str) -> None:
        """Claim the table before it is served, which takes some `PROOF` seconds where another claim was left behind.

        Raises `ConfigurationError` where living processes serve it for another cluster or under another id, and what
        the database raises.
        """
        first: Holder | None = None
        while not await self._is_held(connection, cluster):
            assert self._rival is not None
            if first is None:
                first = self._rival
                logger.info(
                    "groupcache: %s was served as %s: waits to see whether it still is", self._table, shown(first[1])
                )
            elif first[:2] != self._rival[:2]:
                first = self._rival
            elif first != self._rival:
                raise ConfigurationError(await self._refusal(connection, cluster, self._rival))
            await asyncio.sleep(_PAUSE)
        self.is_held = True

    async def refresh(self, connection: asyncpg.Connection, cluster: str) -> bool:
        """Renew the claim; the caller does so every `REFRESH_EVERY` seconds. False while another cluster holds it.

        A claim that was lost, which is logged, is taken back when its new holder has not renewed it for `PROOF`
        seconds. Raises what the database raises.
        """
        held = await self._is_held(connection, cluster)
        if not held and not self.is_lost:
            assert self._rival is not None
            logger.warning(
                "groupcache: the database %s is read past the cache: %s",
                *(self._id, await self._refusal(connection, cluster, self._rival)),
            )
        elif held and self.is_lost:
            logger.info("groupcache: the database %s is this cluster's again", self._id)
        self.is_held, self.is_lost = held, not held
        return held

    async def release(self, connection: asyncpg.Connection, cluster: str) -> None:
        """Give the claim up, so that the next cluster need not wait. Raises what the database raises."""
        if not self._is_without:
            await connection.execute(self._prepared(_RELEASE), self._table, cluster, self._id)

    def _prepared(self, statement: str) -> str:
        return statement.format(schema=self._schema)

    async def _is_held(self, connection: asyncpg.Connection, cluster: str) -> bool:
        if self._is_without:
            return True
        try:
            try:
                return await self._look(connection, cluster)
            except asyncpg.UndefinedTableError:
                await make_tables(partial(self._make, connection))
                return await self._look(connection, cluster)
        except asyncpg.ReadOnlySQLTransactionError:
            return True  # a standby, which is not served anyway, or a user who only reads: nothing can be claimed
        except asyncpg.InsufficientPrivilegeError as error:
            self._is_without = True
            logger.warning(
                "groupcache: %s.groupcache_served cannot be used (%s): another cluster over the database %s, or another"
                " id for it, would not be noticed",
                *(self._schema, error, self._id),
            )
            return True

    async def _make(self, connection: asyncpg.Connection) -> None:
        if not await connection.fetchval(self._prepared(_EXISTS)):
            await connection.execute(self._prepared(_CREATE))

    async def _look(self, connection: asyncpg.Connection, cluster: str) -> bool:
        # Whatever the server's default is: a stricter level would fail when another process renews the claim.
        async with connection.transaction(isolation="read_committed"):
            mine = (self._table, cluster, self._id)
            row = await connection.fetchrow(self._prepared(_LOOK), *mine)
            if row["relation"] is None:
                return True  # there is no objects table, which R13 notices
            if row["cluster"] is None:
                row = await connection.fetchrow(self._prepared(_INSERT), *mine)
            holder = Holder(row["cluster"], row["database"], row["seen"])
            if holder[:2] == (cluster, self._id):
                self._rival = None
                return True
            now = time.monotonic()
            if holder != self._rival:
                self._rival, self._since = holder, now
            elif now >= self._since + PROOF and await connection.fetch(self._prepared(_TAKE), *mine, *holder):
                self._rival = None
                return True
            return False

    async def _refusal(self, connection: asyncpg.Connection, cluster: str, holder: Holder) -> str:
        """Say why the table cannot be served, in one line."""
        found = f"living processes serve its objects table {self._table}"
        if holder.cluster == cluster:
            return (
                f"databases: {self._id!r}: {found} under the id {shown(holder.database)}: give one id to one table, the"
                " same in every process"
            )
        if cluster.startswith(_ALONE):
            by = "alone too" if holder.cluster.startswith(_ALONE) else "as a cluster"
            return (
                f"groupcache.peers: [] is for the only process that uses a database, but of {self._id!r}: {found},"
                f" {by}: take peers out of every configuration"
            )
        if holder.cluster.startswith(_ALONE):
            return (
                f"databases: {self._id!r}: {found} alone, by groupcache: {{peers: []}}: take that out of their"
                " configuration, or stop them"
            )
        server, _, rest = holder.cluster.partition("/")
        number, _, schema = rest.partition("/")
        name = await connection.fetchval(_DATABASE_NAME, server, number) or "one on another server"
        return (
            f"databases: {self._id!r}: {found} with the members table in the schema {shown(schema)} of the database"
            f" {name!r}: give the same databases in the same order, with the same db_schema, in every process"
        )
