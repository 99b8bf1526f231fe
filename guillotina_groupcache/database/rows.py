"""Rows of members as a view takes them: whatever somebody has written there, it takes only so much, and stops nobody.

Who may write to the database is trusted, but a slip, a bad restore or another program must not stop the cluster. So
what a row holds is bounded in SQL, before it crosses the wire, and a row that no process can own counts for a row that
somebody has deleted: the view does not show it, and when it is removed the count of rows stays as it is. If it was
counted it is missed from then on, and everybody waits a lease for the process whose row it may have been (R3, R5);
where somebody has only inserted it, it was not counted and nobody misses it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import asyncpg

from guillotina_groupcache.display import printable, shown
from guillotina_groupcache.settings.addresses import Address
from guillotina_groupcache.throttled import Throttled

#: Bytes of an address: the longest is a host name of 253 with a port; a unix socket has fewer (`addresses`).
MAX_ADDRESS: Final = 260
#: Bytes of what names a host: its name has at most 64, the ids of its boot and of its network some 60.
MAX_HOST: Final = 256
#: Characters of the reason that are read; a longer one is cut.
MAX_REASON: Final = 300
#: Notes (R14) that one row names: those of 16 databases that have as many as there can be. A row with more says
#: nothing, and its process, if there is one, writes it anew.
MAX_APPLIED: Final = 1 << 16
#: Rows without an owner that a view names, and that are removed at once.
MAX_NAMED: Final = 10
MAX_REMOVED: Final = 10_000

#: Whether a row is one of a process as far as SQL can tell. `octet_length` does not fetch what is stored aside.
_SIZED: Final = f"""incarnation > 0 AND state IN ('joining', 'boot', 'in', 'out')
    AND octet_length(address) <= {MAX_ADDRESS} AND octet_length(host) <= {MAX_HOST}"""
#: A time that no clock shows, as `infinity`, is none: nothing would ever be old by it. Clocks are put right by less.
_AHEAD: Final = "now() + interval '1 day'"
#: Whether the database has not heard of a process for so many seconds.
SILENT: Final = f"seen NOT BETWEEN now() - make_interval(secs => {{}}) AND {_AHEAD}"
#: Whether a row has been out for long. Who is out and alive may commit by an older view, and joiners need its word.
OLD: Final = f"""state = 'out' AND changed NOT BETWEEN now() - interval '1 minute' AND {_AHEAD}
    AND seen NOT BETWEEN now() - interval '1 minute' AND {_AHEAD}"""
#: The rows, with the version of each; those that SQL knows to have no owner are only named.
MEMBERS: Final = f"""(
    SELECT incarnation, xmin::text AS version, true AS is_sized, address, host, state,
        left(reason, {MAX_REASON}) AS reason, {SILENT.format("$1")} AS overdue,
        CASE WHEN cardinality(applied) <= {MAX_APPLIED}
        THEN ARRAY(SELECT id FROM unnest(applied) AS id WHERE id >= 0) ELSE '{{{{}}}}' END AS applied
    FROM {{schema}}.groupcache_members WHERE {_SIZED}
    UNION ALL (
        SELECT incarnation, xmin::text, false, left(address, {MAX_ADDRESS}), left(host, {MAX_HOST}), left(state, 20),
            '', false, '{{{{}}}}'
        FROM {{schema}}.groupcache_members WHERE ({_SIZED}) IS NOT TRUE LIMIT {MAX_NAMED})
)"""
#: What has no owner by its size, and the rows of incarnations $1 in the versions $2: one that was changed since is
#: judged anew, and one that somebody has locked is removed later. The count stays as it is.
REMOVE_OWNERLESS: Final = f"""
WITH ownerless AS (
    SELECT incarnation FROM {{schema}}.groupcache_members
    WHERE ({_SIZED}) IS NOT TRUE
    OR (incarnation, xmin::text) IN (SELECT * FROM unnest($1::bigint[], $2::text[]))
    LIMIT {MAX_REMOVED} FOR UPDATE SKIP LOCKED
)
DELETE FROM {{schema}}.groupcache_members WHERE incarnation IN (SELECT incarnation FROM ownerless)
"""

_FIELDS: Final = ("incarnation", "address", "host", "state", "reason", "overdue", "applied")

Row = dict[str, Any]


def sorted_out(records: Iterable[asyncpg.Record]) -> tuple[list[Row], list[asyncpg.Record]]:
    """The members' rows among those that `MEMBERS` gives, as the library takes them, and the rows without an owner."""
    members: list[Row] = []
    ownerless: list[asyncpg.Record] = []
    for record in records:
        if record["incarnation"] is None:
            continue  # there is no row
        if record["is_sized"] and record["host"].isprintable() and _is_address(record["address"]):
            member = {name: record[name] for name in _FIELDS}
            member["reason"] = printable(member["reason"])
            members.append(member)
        else:
            ownerless.append(record)
    return members, ownerless


def _is_address(text: str) -> bool:
    """Whether a process can have an address; a client has the empty one."""
    try:
        # Settings may have blanks and lines around an address, a row has none.
        return not text or (text.isprintable() and text == text.strip() and bool(Address.parse(text)))
    except ValueError:
        return False


async def remove(execute: Callable[..., Awaitable[Any]], ownerless: Sequence[asyncpg.Record], lines: Throttled) -> None:
    """Remove rows that have no owner, and name them in the log. It waits for nobody, and no failure is raised."""
    names = ", ".join(
        f"incarnation {row['incarnation']}, state {shown(row['state'])}, address {shown(row['address'])},"
        f" host {shown(row['host'])}"
        for row in ownerless[:MAX_NAMED]
    )
    incarnations, versions = [row["incarnation"] for row in ownerless], [row["version"] for row in ownerless]
    try:
        await execute(REMOVE_OWNERLESS, incarnations, versions)
    except asyncpg.PostgresError as error:
        lines.warning("row", "groupcache: rows of the members table that no process can own stay: %s: %s", error, names)
    else:
        lines.warning("row", "groupcache: rows of the members table that no process can own are removed: %s", names)
