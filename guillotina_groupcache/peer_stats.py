"""The peers' answers to a request for their statistics, checked: a peer may be of another version, or lie."""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec


class _Bytes(TypedDict, total=False):
    bytes: int


class _Application(TypedDict):
    application: str
    notes: int
    rows: int
    last: float


class _OutsideWrites(TypedDict, total=False):
    everything: int
    by_application: list[_Application]


class _Network(TypedDict, total=False):
    faults: dict[str, int]


class _Member(TypedDict):
    address: str
    state: str
    connected: bool


class _Stats(TypedDict, total=False):
    """The fields that a report reads (`status`); go/internal/node/stats.go lists all."""

    incarnation: str
    address: str
    serving: bool
    since: float
    reason: str
    uptime: float
    epoch: str
    versions: str
    gets: int
    hits: dict[str, int]
    local_loads: int
    bypasses: int
    buckets_in_doubt: int
    longest_doubt: float
    unreachable_databases: list[str]
    outside_writes: _OutsideWrites
    main: _Bytes
    hot: _Bytes
    near: _Bytes
    network: _Network
    members: list[_Member]
    error: str


def decode(data: bytes) -> list[dict[str, Any]]:
    """The statistics of each peer, from a JSON list of strings of JSON.

    An answer that cannot be read becomes an `error`, so that one peer does not cost the answers of the others.
    """
    return [_checked(answer) for answer in msgspec.json.decode(data, type=list[str])]


def _checked(answer: str) -> dict[str, Any]:
    try:
        msgspec.json.decode(answer, type=_Stats)
        found: dict[str, Any] = msgspec.json.decode(answer)
        return found
    except (ValueError, RecursionError):  # msgspec's errors are of the former kind
        return {"error": "its statistics cannot be read"}
