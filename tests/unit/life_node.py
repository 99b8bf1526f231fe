"""A node of the real library without Guillotina, and the answers that it expects from Python."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from guillotina_groupcache import native
from guillotina_groupcache.constants import CompletionKind, Missed, Source
from guillotina_groupcache.native import Completion, Node
from guillotina_groupcache.wire import Result, unpack, unpack_results

#: Seconds until what is waited for counts as failed.
TIMEOUT = 20.0
ALONE = {
    "listen": [],
    "advertise": "",
    "admit": [],
    "alone": True,
    "secret": "",
    "tls": None,
    "size": 64 * 10**6,
    "ttl": 0,
    "lease": 3.0,
    "buckets": 1 << 16,
}
#: Bytes of the largest value of a test.
LARGEST = 5 * 2**20
VALUES = {
    "empty": b"",
    "NUL": b"\0",
    "every byte": bytes(range(256)) * 3,
    "a byte less than the buffer": b"v" * (native._BUFFER_SIZE - 1),
    "as large as the buffer": b"v" * native._BUFFER_SIZE,
    "a byte more than the buffer": b"v" * (native._BUFFER_SIZE + 1),
    "5 MB": bytes(range(256)) * (LARGEST // 256),
}

Load = Callable[[bytes], "bytes | None"]


@contextmanager
def opened(**changes: Any) -> Iterator[Node]:
    """A node with the configuration `ALONE` and some changes, of one database with any keys; closed at the end."""
    node = Node({**ALONE, **changes})
    try:
        node.database("db", b"")
        yield node
    finally:
        node.close()


def take(node: Node, kind: CompletionKind, timeout: float = TIMEOUT) -> Completion:
    """The next completion of a kind; others are dropped."""
    return next(completion for completion in completions(node, timeout) if completion.kind is kind)


def completions(node: Node, timeout: float = TIMEOUT) -> Iterator[Completion]:
    """Every completion as it comes. Raises `TimeoutError` when none has come for `timeout` seconds."""
    while True:
        readable, _, _ = select.select([node.fd], [], [], timeout)
        if not readable:
            raise TimeoutError(f"no completion within {timeout:.0f} s")
        yield from node.drain()


def no_load(key: bytes) -> bytes | None:
    """Fail: for a test in which nothing may be loaded."""
    raise AssertionError(f"{key!r} was loaded")


def read(node: Node, *keys: bytes, load: Load = no_load) -> list[Result]:
    """What the node returns for keys; its loads are answered by `load`."""
    request = time.monotonic_ns()
    node.read(request, keys)
    return answers(node, {request}, load)[request]


def answers(node: Node, requests: set[int], load: Load = no_load) -> dict[int, list[Result]]:
    """The answers to requests that were made."""
    found: dict[int, list[Result]] = {}
    for completion in completions(node):
        if completion.kind is CompletionKind.LOAD:
            node.loaded(completion.id, [load(key) for key in unpack(completion.payload)])
        elif completion.kind is CompletionKind.VALUES:
            found[completion.id] = unpack_results(completion.payload)
            if found.keys() >= requests:
                break
    return found


def at_hand(node: Node, key: bytes) -> tuple[Source, bytes] | None:
    """The value that a lookup finds, and where; None if it finds none."""
    found = node.get(key)
    return None if isinstance(found, Missed) else (found.source, found.value)


def announce(node: Node, *keys: bytes, everything: bool = False) -> int:
    """Announce an event over keys; its number, once it is cleared."""
    event = node.announce("db", keys, everything)
    assert take(node, CompletionKind.CLEARED).id == event
    return event


#: A call of every method of a node, by name.
CALLS: dict[str, Callable[[Node], Any]] = {
    "database": lambda node: node.database("far", b"far"),
    "unserve": lambda node: node.unserve("far"),
    "get": lambda node: node.get(b"key"),
    "read": lambda node: node.read(1, [b"key"]),
    "loaded": lambda node: node.loaded(1, [b"value"]),
    "load_failed": lambda node: node.load_failed(1, "why"),
    "announce": lambda node: node.announce("db", [b"key"]),
    "settle": lambda node: node.settle(1),
    "lost": lambda node: node.lost(1),
    "outside_write": lambda node: node.outside_write(1, 2, [b"key"], False, 1, "psql"),
    "answer": lambda node: node.answer(1, {}),
    "stats": lambda node: node.stats(),
    "peer_stats": lambda node: node.peer_stats(1),
    "drain": lambda node: list(node.drain()),
    "leave": lambda node: node.leave(),
    "close": lambda node: node.close(),
}
