"""The library does what native.py says, with any bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guillotina_groupcache import constants, native
from guillotina_groupcache.constants import CompletionKind, Missed, Source
from guillotina_groupcache.interfaces import LibraryError
from guillotina_groupcache.native import Found, Node
from guillotina_groupcache.wire import Result, pack, unpack, unpack_result
from tests.unit.life_node import ALONE, LARGEST, VALUES, answers, at_hand, completions, no_load, opened, read, take

KEYS = {
    "empty": b"",
    "NUL": b"\0",
    "NULs": b"\0\0a\0",
    "every byte": bytes(range(256)),
    "4 KB": b"k" * 4096,
    "64 KB": b"k" * 65536,
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_value_comes_out_as_it_was_loaded(node: Node, value: bytes) -> None:
    assert node.get(b"key") is Missed.MISS
    assert read(node, b"key", load=lambda key: value) == [Result(Source.DATABASE, value)]
    assert at_hand(node, b"key") == (Source.OWN, value)
    assert read(node, b"key") == [Result(Source.OWN, value)]


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_miss_with_a_request_is_answered(node: Node, value: bytes) -> None:
    assert node.get(b"key", 7) is Missed.MISS
    node.loaded(take(node, CompletionKind.LOAD).id, [value])
    answer = take(node, CompletionKind.VALUES)
    assert (answer.id, unpack_result(answer.payload)) == (7, (Source.DATABASE, value))
    found = node.get(b"key", 8)
    assert isinstance(found, Found)
    assert (found.source, found.value) == (Source.OWN, value)
    assert not any(completion.kind is CompletionKind.VALUES for completion in node.drain())


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_may_be_any_bytes(node: Node, key: bytes) -> None:
    asked = []
    assert read(node, key, load=lambda key: asked.append(key) or b"value") == [Result(Source.DATABASE, b"value")]
    assert asked == [key]
    assert at_hand(node, key) == (Source.OWN, b"value")
    assert node.get(key + b"\0") is Missed.MISS


def test_keys_are_answered_in_the_order_asked(node: Node) -> None:
    read(node, b"1", load=lambda key: b"one")
    results = read(node, b"2", b"1", b"0", b"3", b"2", load={b"0": b"", b"2": b"two", b"3": None}.get)
    assert [result.value for result in results] == [b"two", b"one", b"", b"", b"two"]
    assert [result.source is Source.NOWHERE for result in results] == [False, False, False, True, False]
    assert read(node) == []


@pytest.mark.parametrize("fail", [Node.load_failed, lambda node, load, _: node.loaded(load, [None])])
def test_a_failed_load_is_forgotten(node: Node, fail: Callable[[Node, int, str], None]) -> None:
    node.read(1, [b"key"])
    fail(node, take(node, CompletionKind.LOAD).id, "the database \udcff is away")
    assert answers(node, {1}) == {1: [Result(Source.NOWHERE, b"")]}
    assert read(node, b"key", load=lambda key: b"value") == [Result(Source.DATABASE, b"value")]


def test_a_load_with_too_few_answers_has_failed(node: Node) -> None:
    node.read(1, [b"key", b"other"])
    node.loaded(take(node, CompletionKind.LOAD).id, [b"value"])
    assert {result.source for result in answers(node, {1})[1]} == {Source.NOWHERE}


def test_a_thousand_requests_are_one_load(node: Node) -> None:
    requests = set(range(1, 1001))
    for request in requests:
        node.read(request, [b"key"])
    loads: list[bytes] = []
    found = answers(node, requests, lambda key: loads.append(key) or b"value")
    assert {result.value for (result,) in found.values()} == {b"value"}
    assert loads == [b"key"]
    assert node.stats()["local_loads"] == 1


def test_more_waits_than_one_drain_takes(node: Node) -> None:
    values = {bytes([i]): bytes([i]) * (LARGEST // 10) for i in range(20)}
    for key in values:
        read(node, key, load=values.get)
    for request, key in enumerate(values):
        node.read(request, [key])
    found = answers(node, set(range(20)))
    assert [found[i][0].value for i in range(20)] == list(values.values())


def test_a_key_of_no_database_is_bypassed() -> None:
    node = Node(ALONE)
    try:
        assert node.get(b"oa") is Missed.BYPASS
        word = node.database("a", b"a")
        assert word is not None and node.database("a", b"a") == word
        assert node.get(b"oa") is Missed.MISS and node.get(b"ob") is Missed.BYPASS and node.get(b"") is Missed.BYPASS
        assert read(node, b"oa", load=lambda key: b"value") == [Result(Source.DATABASE, b"value")]
        found = node.get(b"oa")
        assert isinstance(found, Found) and found.deadline == word
        assert node.table[word] > 2**62, "a process that is alone has no deadline"
    finally:
        node.close()


def test_the_databases_of_a_process_are_bounded(node: Node) -> None:
    words = {node.database(str(i), b"%d." % i) for i in range(constants.MAX_DATABASES - 1)}
    assert len(words) == constants.MAX_DATABASES - 1 and max(filter(None, words)) < native.HEADER_WORDS
    assert node.database("one too many", b"x") is None


def test_a_node_ends_with_loads_in_flight() -> None:
    with opened() as node:
        for request in range(100):
            node.read(request, [b"%d" % request])
        load = take(node, CompletionKind.LOAD)
    with pytest.raises(LibraryError, match="closed"):
        node.loaded(load.id, [b"too late"])


def test_after_leave_nothing_is_served(node: Node) -> None:
    read(node, b"key", load=lambda key: b"value")
    node.leave()
    assert node.get(b"key") is Missed.BYPASS
    assert read(node, b"key", load=no_load) == [Result(Source.NOWHERE, b"")]


def test_nodes_are_separate() -> None:
    with opened() as one, opened() as other:
        read(one, b"key", load=lambda key: b"value")
        assert other.get(b"key") is Missed.MISS


def test_stats_of_the_peers_of_a_process_alone(node: Node) -> None:
    node.peer_stats(7)
    answer = take(node, CompletionKind.PEER_STATS)
    assert (answer.id, answer.payload) == (7, b"[]")


def test_pack_and_unpack() -> None:
    elements = [b"", b"\0", b"x" * 70000]
    assert unpack(pack(elements)) == elements
    assert unpack(pack([])) == []


def test_drain_without_anything(node: Node) -> None:
    take(node, CompletionKind.LOG)
    assert list(node.drain()) == []
    with pytest.raises(TimeoutError):
        next(completions(node, timeout=0))
