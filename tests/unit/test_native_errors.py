"""What the library cannot do is an exception in Python, and harms nothing else."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from guillotina_groupcache.constants import CompletionKind, Missed, Source
from guillotina_groupcache.interfaces import LibraryError
from guillotina_groupcache.native import Node
from guillotina_groupcache.wire import Result, pack
from harness.cluster import SECRET
from tests.unit.life_node import ALONE, CALLS, announce, answers, opened, read, take


def test_unknown_numbers_do_nothing(node: Node) -> None:
    node.loaded(99, [b"value"])
    node.load_failed(99, "why")
    node.settle(99)
    node.settle(99, [(b"key", b"value")])
    node.lost(99)
    node.answer(99, {})
    assert node.get(b"key") is Missed.MISS


MALFORMED = [b"\x01", b"\xff\xff\xff\xff", b"\x05\0\0\0four", struct.pack("<I", 2**31) + b"x"]


@pytest.mark.parametrize("packed", MALFORMED)
def test_malformed_input_is_an_error(node: Node, packed: bytes) -> None:
    library, handle = node._lib, node._handle
    with pytest.raises(LibraryError):
        node._check(library.gc_read(handle, 1, packed, len(packed)))
    with pytest.raises(LibraryError):
        node._check(library.gc_announce(handle, b"db", 2, packed, len(packed), 0))
    with pytest.raises(LibraryError):
        node._check(library.gc_outside_write(handle, 1, 2, 0, 1, b"psql", 4, packed, len(packed)))
    node.read(2, [b"key"])
    node._check(library.gc_loaded(handle, take(node, CompletionKind.LOAD).id, packed, len(packed), 0))
    assert answers(node, {2}) == {2: [Result(Source.NOWHERE, b"")]}
    assert read(node, b"key", load=lambda key: b"value") == [Result(Source.DATABASE, b"value")]


@pytest.mark.parametrize("packed", [*MALFORMED, pack([b"a key alone"])])
def test_malformed_pushes_settle_the_event_all_the_same(node: Node, packed: bytes) -> None:
    """R9: the event must not stay open."""
    event = announce(node, b"key")
    with pytest.raises(LibraryError):
        node._check(node._lib.gc_settle(node._handle, event, packed, len(packed)))
    assert node.get(b"key") is Missed.MISS


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"rows": 5}', b"\0"])
def test_a_malformed_answer_of_the_database_is_none(node: Node, text: bytes) -> None:
    node.lost(announce(node, b"key"))
    node._check(node._lib.gc_answer(node._handle, take(node, CompletionKind.DATABASE_QUERY).id, text, len(text)))
    assert node.get(b"key") is Missed.BYPASS
    node.answer(take(node, CompletionKind.DATABASE_QUERY).id, {"open": []})
    assert node.get(b"key") is Missed.MISS


def test_a_panic_is_an_error(node: Node) -> None:
    """There is no node with the handle 0: Go dereferences nil."""
    for call in (node._lib.gc_leave, node._lib.gc_fd):
        with pytest.raises(LibraryError, match="panic"):
            node._check(call(0))
    assert read(node, b"key", load=lambda key: b"value") == [Result(Source.DATABASE, b"value")]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_closed_node_says_so(call: Callable[[Node], Any]) -> None:
    with opened() as node:
        pass
    with opened(), pytest.raises(LibraryError, match="closed"):
        call(node)


#: By a word that the message has to have.
WRONG: dict[str, dict[str, Any]] = {
    "power of two": {"buckets": 3},
    "lease": {"lease": 0},
    "nowhere": {"alone": False, "listen": ["nowhere"], "secret": SECRET},
    "secret": {"alone": False, "listen": ["127.0.0.1:0"]},
    "/no/such": {
        "alone": False,
        "listen": ["127.0.0.1:0"],
        "tls": {"cert": "/no/such", "key": "/no/such", "ca": "/no/such"},
    },
    "listen": {"listen": 5},
}


@pytest.mark.parametrize(("word", "changes"), WRONG.items(), ids=WRONG)
def test_a_wrong_configuration_is_one_line(word: str, changes: dict[str, Any]) -> None:
    with pytest.raises(LibraryError, match=word) as caught:
        Node({**ALONE, **changes})
    assert "\n" not in str(caught.value)


def test_a_port_in_use_is_one_line(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(LibraryError, match="the address is in use") as caught:
            Node({**ALONE, "alone": False, "listen": [listen], "secret": SECRET})
        assert listen in str(caught.value) and "\n" not in str(caught.value)
    with opened(alone=False, listen=[listen], secret=SECRET):
        pass
