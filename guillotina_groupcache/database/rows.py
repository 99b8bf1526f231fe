"""The members' rows as a view takes them: whatever somebody has written there, it is bounded and stops no process.

Everybody who may write to the database is trusted, but a slip, a bad restore or another program must not stop the
cluster. So SQL bounds what a row holds before it crosses the wire, and a row that no process can own is treated like a
row that somebody has deleted: the view does not show it, and when it is removed the count of rows stays as it is. If
the row was counted, it is missing from then on, and every process waits a lease for the process whose row it may have
been (R3, R5). If somebody has only inserted it, it was never counted and is not missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import asyncpg

from guillotina_groupcache.display import printable, shown
from guillotina_groupcache.settings.addresses import Address
from guillotina_groupcache.throttled import Throttled

#: Bytes of an address: the longest is a host name of 253 bytes with a port; unix sockets are shorter (`addresses`).
MAX_ADDRESS: Final = 260
#: Bytes of `host`: the host's name has at most 64, the ids of its boot and of its network some 60.
MAX_HOST: Final = 256
#: Characters of the reason that are read; a longer reason is cut.
MAX_REASON: Final = 300
#: Notes (R14) that one row names: enough for 16 databases with the maximum number of notes. The list of a row with more
#: is ignored; its process, if there is one, writes it again.
MAX_APPLIED: Final = 1 << 16
#: Rows without an owner: how many a view names, and how many one statement removes.
MAX_NAMED: Final = 10
MAX_REMOVED: Final = 10_000

#: Whether a row can be a process' own, as far as SQL can tell. `octet_length` does not fetch values stored out of line.
_SIZED: Final = f"""incarnation > 0 AND state IN ('joining', 'boot', 'in', 'out')
    AND octet_length(address) <= {MAX_ADDRESS} AND octet_length(host) <= {MAX_HOST}"""
#: A later time, such as `infinity`, is not taken for a real one: a row with it would never grow old. Corrections of a
#: clock are smaller than a day.
_AHEAD: Final = "now() + interval '1 day'"
#: Whether a row's heartbeat is overdue: the process has not renewed it for so many seconds.
OVERDUE: Final = f"seen NOT BETWEEN now() - make_interval(secs => {{}}) AND {_AHEAD}"
#: Whether a row has been out for so long that it may be removed. A process that is out but alive may still commit by an
#: older view, so joiners need its acknowledgement.
OLD: Final = f"""state = 'out' AND changed NOT BETWEEN now() - interval '1 minute' AND {_AHEAD}
    AND seen NOT BETWEEN now() - interval '1 minute' AND {_AHEAD}"""
#: The rows, each with its version. Of rows that SQL knows to have no owner there is only what names them.
MEMBERS: Final = f"""(
    SELECT incarnation, xmin::text AS version, true AS is_sized, address, host, state,
        left(reason, {MAX_REASON}) AS reason, {OVERDUE.format("$1")} AS overdue,
        CASE WHEN cardinality(applied) <= {MAX_APPLIED}
        THEN ARRAY(SELECT id FROM unnest(applied) AS id WHERE id >= 0) ELSE '{{{{}}}}' END AS applied
    FROM {{schema}}.groupcache_members WHERE {_SIZED}
    UNION ALL (
        SELECT incarnation, xmin::text, false, left(address, {MAX_ADDRESS}), left(host, {MAX_HOST}), left(state, 20),
            '', false, '{{{{}}}}'
        FROM {{schema}}.groupcache_members WHERE ({_SIZED}) IS NOT TRUE LIMIT {MAX_NAMED})
)"""
#: Removes rows that have no owner by their size, and the rows of the incarnations $1 in the versions $2. A row that was
#: changed since is judged again by the next view, and a locked row is removed later. The count stays as it is.
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
    """Split the rows of `MEMBERS` into those of members, in the library's form, and those that no process can own."""
    members: list[Row] = []
    ownerless: list[asyncpg.Record] = []
    for record in records:
        if record["incarnation"] is None:
            continue  # the table is empty
        if record["is_sized"] and record["host"].isprintable() and _is_address(record["address"]):
            member = {name: record[name] for name in _FIELDS}
            member["reason"] = printable(member["reason"])
            members.append(member)
        else:
            ownerless.append(record)
    return members, ownerless


def _is_address(text: str) -> bool:
    """Whether a process can have this address; a client's is empty."""
    try:
        # `Address.parse` allows white space around an address, for settings; no process writes it into a row.
        return not text or (text.isprintable() and text == text.strip() and bool(Address.parse(text)))
    except ValueError:
        return False


async def remove(execute: Callable[..., Awaitable[Any]], ownerless: Sequence[asyncpg.Record], log: Throttled) -> None:
    """Remove rows that no process can own, and name them in the log. It waits for no lock and logs SQL errors."""
    names = ", ".join(
        f"incarnation {row['incarnation']}, state {shown(row['state'])}, address {shown(row['address'])},"
        f" host {shown(row['host'])}"
        for row in ownerless[:MAX_NAMED]
    )
    incarnations, versions = [row["incarnation"] for row in ownerless], [row["version"] for row in ownerless]
    try:
        await execute(REMOVE_OWNERLESS, incarnations, versions)
    except asyncpg.PostgresError as error:
        log.warning("row", "groupcache: rows of the members table that no process can own stay: %s: %s", error, names)
    else:
        log.warning("row", "groupcache: rows of the members table that no process can own are removed: %s", names)
