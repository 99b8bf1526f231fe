"""A node of the real library without Guillotina, and the answers that it expects from Python."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from guillotina_groupcache.constants import CompletionKind
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
