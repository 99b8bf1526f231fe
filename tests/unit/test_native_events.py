"""Events and notes of outside writes, as the library takes them from Python (R1, R6, R8, R9, R14)."""

from __future__ import annotations

import pytest

from guillotina_groupcache.constants import CompletionKind, Missed, Source
from guillotina_groupcache.interfaces import LibraryError
from guillotina_groupcache.native import Node
from guillotina_groupcache.wire import Result
from tests.unit.life_node import VALUES, announce, answers, at_hand, read, take


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


def test_an_event_is_settled_once(node: Node) -> None:
    event = announce(node, b"key")
    node.settle(event, [(b"key", b"value")])
    node.settle(event, [(b"key", b"again")])
    node.lost(event)
    assert at_hand(node, b"key") == (Source.OWN, b"value")
