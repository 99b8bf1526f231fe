"""A report on a cluster, from one process' statistics and its peers': its members, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from guillotina_groupcache.display import printable

#: Seconds for which an event may be open before that counts as wrong: an orphan takes a second or two.
LONG_DOUBT: Final = 10.0
#: The share of keys that may be read past the cache before that counts as wrong, of at least `MANY_GETS` keys.
MANY_BYPASSES: Final = 0.2
MANY_GETS: Final = 1000
#: Writes from outside that have bumped everything: so many, and at least one per minute, count as wrong.
MANY_EVERYTHING: Final = 10

_HITS: Final = ("near", "own", "hot", "peer")
_COLUMNS: Final = (
    *("address", "host", "state", "serves", "for", "gets", "hits"),
    *("loads", "MB", "doubt", "faults", "versions"),
)
_OUTSIDE_COLUMNS: Final = ("application", "notes", "rows", "last")

Stats = Mapping[str, Any]


def report(stats: Stats) -> dict[str, Any]:
    """The cluster as the statistics of one process and its peers show it: `get_stats(cluster=True)`.

    docs/operating.rst explains the keys. The process itself is left out, as it is a command that only reports.
    """
    answers = {peer["incarnation"]: peer for peer in stats.get("peers", ()) if "incarnation" in peer}
    errors = {peer.get("address"): peer["error"] for peer in stats.get("peers", ()) if "error" in peer}
    members = [_member(row, answers.get(row["incarnation"]), errors.get(row["address"])) for row in stats["members"]]
    return {"members": members, "outside_writes": _outside_writes(members), "wrong": list(_wrong(members))}


def _member(row: Stats, answer: Stats | None, error: str | None) -> dict[str, Any]:
    member: dict[str, Any] = {name: row.get(name) for name in ("incarnation", "address", "state", "reason", "overdue")}
    member["host"] = str(row.get("host") or "").partition(" ")[0]
    member["answered"] = answer is not None
    if answer is None:
        unknown = "no statistics, though it is connected" if row.get("connected") else "not connected"
        member["error"] = error or unknown
    else:
        member["error"] = None
        for name in ("serving", "since", "uptime", "epoch", "versions", "gets", "hits", "local_loads"):
            member[name] = answer.get(name)
        for name in ("bypasses", "buckets_in_doubt", "longest_doubt", "unreachable_databases", "outside_writes"):
            member[name] = answer.get(name)
        member["bypassing"] = answer.get("reason")
        member["bytes"] = sum((answer.get(store) or {}).get("bytes", 0) for store in ("main", "hot", "near"))
        member["faults"] = (answer.get("network") or {}).get("faults") or {}
        member["unreached"] = [
            _name(other) for other in answer.get("members", ()) if other["state"] == "in" and not other["connected"]
        ]
    return member


def _outside_writes(members: Sequence[Stats]) -> list[dict[str, Any]]:
    """The applications that write without announcing it, the latest writer first.

    Each member counts each note once, from its own start on. So of each application the highest count is the right one.
    """
    found: dict[str, dict[str, Any]] = {}
    for member in members:
        for row in (member.get("outside_writes") or {}).get("by_application", ()):
            known = found.setdefault(row["application"], dict(row))
            for name in ("notes", "rows"):
                known[name] = max(known[name], row[name])
            known["last"] = min(known["last"], row["last"])
    return sorted(found.values(), key=lambda row: row["last"])


def _name(member: Stats) -> str:
    return str(member["address"] or "a client")


def _wrong(members: Sequence[Stats]) -> Iterable[str]:
    peers = [member for member in members if member["address"]]
    if not peers:
        yield "no process of a server is in the members table"
    elif not any(member.get("serving") for member in peers):
        yield "no process is serving: every read goes to the database"
    for member in members:
        yield from _wrong_with(member)
    versions = {member["versions"] for member in peers if member.get("serving")}
    if len(versions) > 1 and not any(member.get("buckets_in_doubt") for member in peers):
        yield "versions differ: what one process has cached the others load again, until anti-entropy repairs them"


def _wrong_with(member: Stats) -> Iterable[str]:
    name = _name(member)
    if member["state"] == "out":
        yield f"{name} is out: {member['reason'] or 'no reason is known'}"
    elif member["overdue"]:
        yield f"{name} is overdue (its heartbeat is late), though it is not out"
    if not member["answered"]:
        if member["address"] and member["state"] != "out":
            yield f"{name} does not answer: {member['error']}"
        return
    if not member["serving"]:
        why = member["bypassing"] or "no reason is known"
        yield f"{name} has been bypassing for {_seconds(member['since'])}: {why}"
    for database in member["unreachable_databases"] or ():
        yield f"{name} reads the database {database} past the cache: it does not answer"
    for other in member["unreached"]:
        yield f"{name} is not connected to {other}"
    if (member["longest_doubt"] or 0) > LONG_DOUBT:
        yield f"{name} has had {member['buckets_in_doubt']} buckets in doubt for {_seconds(member['longest_doubt'])}"
    gets, bypasses = member["gets"] or 0, member["bypasses"] or 0
    if gets >= MANY_GETS and bypasses > MANY_BYPASSES * gets:
        yield f"{name} has read {bypasses / gets:.0%} of the keys past the cache"
    everything = (member["outside_writes"] or {}).get("everything", 0)
    if everything >= max(MANY_EVERYTHING, (member["uptime"] or 0) / 60):
        yield f"{name} has bumped everything for {everything} writes from outside: find what writes so much at once"


def table(shown: Stats) -> str:
    """A report as a text for people, without characters that a terminal would obey."""
    lines = _aligned([_COLUMNS, *(_row(member) for member in shown["members"])])
    if shown["outside_writes"]:
        rows = [_outside_row(row) for row in shown["outside_writes"]]
        lines += ["", "What has written past the cache, without announcing it:", *_aligned([_OUTSIDE_COLUMNS, *rows])]
    wrong = [f"- {printable(sentence)}" for sentence in shown["wrong"]]
    return "\n".join([*lines, "", *(["What is wrong:", *wrong] if wrong else ["Nothing is wrong."])])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _outside_row(row: Stats) -> tuple[str, ...]:
    name, rows = row["application"] or "(without a name)", row["rows"]
    return name, str(row["notes"]), str(rows) if rows else "?", f"{_seconds(row['last'])} ago"


def _row(member: Stats) -> tuple[str, ...]:
    known = (_name(member), member["host"] or "?", str(member["state"]))
    if not member["answered"]:
        return (*known, *("?" for _ in _COLUMNS[len(known) :]))
    hits = sum((member["hits"] or {}).get(source, 0) for source in _HITS)
    gets = member["gets"] or 0
    return (
        *known,
        "cache" if member["serving"] else "database",
        _seconds(member["since"]),
        str(gets),
        f"{hits / gets:.0%}" if gets else "-",
        str(member["local_loads"]),
        f"{member['bytes'] / 1e6:.1f}",
        str(member["buckets_in_doubt"]),
        str(sum(member["faults"].values())),
        str(member["versions"])[:8],
    )


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
