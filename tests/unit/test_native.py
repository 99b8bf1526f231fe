"""The library does what native.py says, with any bytes, and raises an exception where it cannot."""

from __future__ import annotations

import re
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from guillotina_groupcache import constants, native
from guillotina_groupcache.constants import CompletionKind, Missed, Source
from guillotina_groupcache.interfaces import LibraryError
from guillotina_groupcache.native import Found, Node
from guillotina_groupcache.wire import Result, pack, unpack, unpack_result
from harness.cluster import SECRET
from tests.unit.life_node import ALONE, answers, completions, no_load, opened, read, take

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
KEYS = {
    "empty": b"",
    "NUL": b"\0",
    "NULs": b"\0\0a\0",
    "every byte": bytes(range(256)),
    "4 KB": b"k" * 4096,
    "64 KB": b"k" * 65536,
}


@pytest.fixture
def node() -> Iterator[Node]:
    with opened() as node:
        yield node


# --- reads


def at_hand(node: Node, key: bytes) -> tuple[Source, bytes] | None:
    """The value that a lookup finds, and where; None if it finds none."""
    found = node.get(key)
    return None if isinstance(found, Missed) else (found.source, found.value)


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


def test_open_events_are_bounded(node: Node) -> None:
    """A commit that cannot be announced fails by itself; there is room when another one is settled."""
    events = []
    with pytest.raises(LibraryError, match=r"too many transactions .* 4096"):
        for _ in range(10000):
            events.append(node.announce("db", [b"key"]))
    node.settle(events.pop())
    events.append(node.announce("db", [b"other"]))
    for event in events:
        node.settle(event)
    assert node.get(b"key") is Missed.MISS


def test_the_databases_of_a_process_are_bounded(node: Node) -> None:
    words = {node.database(str(i), b"%d." % i) for i in range(constants.MAX_DATABASES - 1)}
    assert len(words) == constants.MAX_DATABASES - 1 and max(filter(None, words)) < native.HEADER_WORDS
    assert node.database("one too many", b"x") is None


# --- events


def announce(node: Node, *keys: bytes, everything: bool = False) -> int:
    event = node.announce("db", keys, everything)
    assert take(node, CompletionKind.CLEARED).id == event
    return event


@pytest.mark.parametrize("everything", [False, True])
def test_an_event_bumps_the_keys_that_it_names(node: Node, everything: bool) -> None:
    for key in (b"key", b"other"):
        read(node, key, load=lambda key: b"old")
    event = announce(node, *(() if everything else (b"key",)), everything=everything)
    assert node.get(b"key") is Missed.BYPASS
    assert read(node, b"key") == [Result(Source.NOWHERE, b"")]
    node.settle(event)
    assert node.get(b"key") is Missed.MISS
    assert at_hand(node, b"other") == (None if everything else (Source.OWN, b"old"))


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_written_values_are_pushed(node: Node, value: bytes) -> None:
    node.settle(announce(node, b"key"), [(b"key", value)])
    assert at_hand(node, b"key") == (Source.OWN, value)


def test_a_key_that_is_not_in_the_event_is_not_pushed(node: Node) -> None:
    node.settle(announce(node, b"key"), [(b"other", b"value")])
    assert node.get(b"other") is Missed.MISS


def test_nothing_is_pushed_that_another_event_touched(node: Node) -> None:
    """R8: this process cannot know which of the two values is the newer one."""
    first, second = announce(node, b"key"), announce(node, b"key")
    node.settle(first, [(b"key", b"first")])
    assert node.get(b"key") is Missed.BYPASS
    node.settle(second, [(b"key", b"second")])
    assert node.get(b"key") is Missed.MISS


def test_a_value_is_stored_under_the_version_from_before_its_load(node: Node) -> None:
    """R1: it is not used after the event that came during the load."""
    node.read(1, [b"key"])
    load = take(node, CompletionKind.LOAD)
    node.settle(announce(node, b"key"))
    node.loaded(load.id, [b"read before the commit"])
    answers(node, {1})
    assert node.get(b"key") is Missed.MISS


def test_an_event_whose_end_is_unknown_stays_in_doubt_until_the_database_knows(node: Node) -> None:
    """R9, and R6: the open transactions are compared with those of the query before."""
    read(node, b"key", load=lambda key: b"old")
    event = announce(node, b"key")
    node.lost(event)
    for open_ in (["db 3/7", "db 4/1"], ["db 3/7", "db 5/1"], ["db 3/7"]):
        query = take(node, CompletionKind.DATABASE_QUERY)
        assert b"open_transactions" in query.payload
        assert node.get(b"key") is Missed.BYPASS
        node.answer(query.id, {"open": open_})
        assert node.get(b"key") is Missed.BYPASS
    node.answer(take(node, CompletionKind.DATABASE_QUERY).id, {"error": "the database is away"})
    assert node.get(b"key") is Missed.BYPASS
    node.answer(take(node, CompletionKind.DATABASE_QUERY).id, {"open": ["db 5/1"]})
    assert node.get(b"key") is Missed.MISS


def test_a_database_name_may_be_any_text(node: Node) -> None:
    node.lost(node.announce("bö se\0", [b"key"]))
    query = take(node, CompletionKind.DATABASE_QUERY)
    assert "bö se".encode() in query.payload
    node.answer(query.id, {"open": []})
    assert node.get(b"key") is Missed.MISS


# --- writes from outside


def test_notes_are_counted(node: Node) -> None:
    node.outside_write(1, 2**64 - 1, [b"key", b"other"], False, 2, "psql")
    node.outside_write(2**59 - 1, 0, [], True, 0, "ü" * 100 + "\udcff")
    stats = node.stats()["outside_writes"]
    assert (stats["applied"], stats["everything"], stats["rows"]) == (2, 1, 2)
    by_application = {a.pop("application"): a for a in stats["by_application"]}
    assert by_application["psql"]["notes"] == 1 and by_application["psql"]["rows"] == 2
    assert by_application["psql"]["last"] >= 0 and by_application.keys() == {"psql", "ü" * 64}


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_note_has_numbers_of_64_bits(node: Node, number: int) -> None:
    for arguments in ((number, 2, [], True, 0), (1, number, [], True, 0), (1, 2, [], True, number)):
        with pytest.raises(OverflowError):
            node.outside_write(*arguments, "psql")


# --- what is wrong


def test_unknown_numbers_do_nothing(node: Node) -> None:
    node.loaded(99, [b"value"])
    node.load_failed(99, "why")
    node.settle(99)
    node.settle(99, [(b"key", b"value")])
    node.lost(99)
    node.answer(99, {})
    assert node.get(b"key") is Missed.MISS


def test_an_event_is_settled_once(node: Node) -> None:
    event = announce(node, b"key")
    node.settle(event, [(b"key", b"value")])
    node.settle(event, [(b"key", b"again")])
    node.lost(event)
    assert at_hand(node, b"key") == (Source.OWN, b"value")


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


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_closed_node_says_so(call: Callable[[Node], Any]) -> None:
    with opened() as node:
        pass
    with opened(), pytest.raises(LibraryError, match="closed"):
        call(node)


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


WRONG: dict[str, dict[str, Any]] = {
    "buckets": {"buckets": 3},
    "lease": {"lease": 0},
    "listen": {"alone": False, "listen": ["nowhere"], "secret": SECRET},
    "TCP without a secret": {"alone": False, "listen": ["127.0.0.1:0"]},
    "tls": {
        "alone": False,
        "listen": ["127.0.0.1:0"],
        "tls": {"cert": "/no/such", "key": "/no/such", "ca": "/no/such"},
    },
    "a type": {"listen": 5},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_a_wrong_configuration_is_one_line(changes: dict[str, Any]) -> None:
    with pytest.raises(LibraryError) as caught:
        Node({**ALONE, **changes})
    assert str(caught.value) and "\n" not in str(caught.value)


def test_a_port_in_use_is_one_line(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(LibraryError, match="the address is in use") as caught:
            Node({**ALONE, "alone": False, "listen": [listen], "secret": SECRET})
        assert listen in str(caught.value) and "\n" not in str(caught.value)
    with opened(alone=False, listen=[listen], secret=SECRET):
        pass


# --- packing


def test_pack_and_unpack() -> None:
    elements = [b"", b"\0", b"x" * 70000]
    assert unpack(pack(elements)) == elements
    assert unpack(pack([])) == []


# --- a library that does not load


@pytest.fixture
def not_loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """A function that makes this process look as if it had not loaded the library yet, and has it look at a path."""

    def look_at(path: Path) -> None:
        monkeypatch.setattr(native, "_loaded", None)
        monkeypatch.setattr(native, "LIBRARY", path)

    yield look_at


def refused() -> str:
    with pytest.raises(LibraryError) as caught:
        Node(ALONE)
    message = str(caught.value)
    assert "\n" not in message
    assert re.match(r"cannot load lib\w+\.so: .", message), message
    return message


def test_a_missing_library(not_loaded: Callable[[Path], None], tmp_path: Path) -> None:
    not_loaded(tmp_path / "libmissing.so")
    assert "No such file" in refused()


def test_a_library_that_is_none(not_loaded: Callable[[Path], None], tmp_path: Path) -> None:
    library = tmp_path / "libgarbage.so"
    for content in (b"", b"\0" * 5000, b"<html>Not Found</html>" * 100):
        library.write_bytes(content)
        not_loaded(library)
        refused()


def test_a_library_of_another_machine(not_loaded: Callable[[Path], None], tmp_path: Path) -> None:
    library = tmp_path / "libother.so"
    content = bytearray(native.LIBRARY.read_bytes())
    assert content[:4] == b"\x7fELF"
    content[18:20] = struct.pack("<H", 2)  # e_machine: SPARC
    library.write_bytes(content)
    not_loaded(library)
    refused()


def test_a_directory_for_a_library(not_loaded: Callable[[Path], None], tmp_path: Path) -> None:
    library = tmp_path / "libdirectory.so"
    library.mkdir()
    not_loaded(library)
    refused()


def test_a_package_that_was_not_built(not_loaded: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    not_loaded(native.LIBRARY)
    monkeypatch.setitem(sys.modules, "guillotina_groupcache._native_abi", None)
    refused()


def test_drain_without_anything(node: Node) -> None:
    take(node, CompletionKind.LOG)
    assert list(node.drain()) == []
    with pytest.raises(TimeoutError):
        next(completions(node, timeout=0))
