"""R10: keys of different things never have the same bytes, and the bytes show what a key is of."""

from __future__ import annotations

from typing import Any

import pytest
from guillotina.db.cache.base import BaseCache
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guillotina_groupcache.interfaces import KeyFormatError
from guillotina_groupcache.keys import Key, Kind, decode, encode, from_cache_arguments, prefix, stored_oid

# No deadline: how long an example takes says nothing on a machine that others use as well.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")

NAMED = (Kind.CHILD, Kind.ANNOTATION)

# All code points, surrogates too, and often those that formats get wrong.
strings = st.text(st.one_of(st.characters(), st.sampled_from("\0-/|\x01\x02\x80\ud800\udfff\U0010ffffé")))
oids = strings.filter(lambda oid: len(oid) <= 64)
kinds = st.sampled_from(Kind)


def keys_of(kind: Kind) -> st.SearchStrategy[Key]:
    names = strings if kind in NAMED else st.just("")
    return st.builds(Key, strings, st.just(kind), oids, names)


keys = kinds.flatmap(keys_of)


class Content:
    """An object of Guillotina, as far as keys need it."""

    def __init__(self, uuid: str | None) -> None:
        self.__uuid__ = uuid


@given(keys)
@example(Key("", Kind.OBJECT, "", ""))
@example(Key("db", Kind.CHILD, "\0", "\0\0"))
@example(Key("\ud83d", Kind.CHILD, "\ude00", "\ud83d\ude00"))
@example(Key("d" * 300, Kind.ANNOTATION, "o" * 64, "n" * 70_000))
@example(Key("d" * 0xD800, Kind.OBJECT, "oid"))
def test_decode_is_the_inverse_of_encode(key: Key) -> None:
    assert decode(encode(*key)) == key


@given(keys, keys)
@example(Key("db", Kind.CHILD, "a", "b"), Key("dba", Kind.CHILD, "", "b"))
@example(Key("db", Kind.CHILD, "a", "bc"), Key("db", Kind.CHILD, "ab", "c"))
@example(Key("db", Kind.CHILD, "a", "\U0001f600"), Key("db", Kind.CHILD, "a", "\ud83d\ude00"))
def test_different_keys_have_different_bytes(one: Key, other: Key) -> None:
    assert (encode(*one) == encode(*other)) == (one == other)


@given(keys, strings)
@example(Key("d", Kind.CHILD, "", "b"), "db")
@example(Key("", Kind.CHILD, "a", "b"), "\x01")
@example(Key("\x01", Kind.OBJECT, "a"), "")
def test_a_prefix_is_that_of_one_database(key: Key, other: str) -> None:
    data = encode(*key)[1:]
    assert data.startswith(prefix(key.db))
    assert data.startswith(prefix(other)) == (other == key.db)


@given(strings, oids)
def test_kinds_have_different_bytes_for_one_object(db: str, oid: str) -> None:
    assert len({encode(db, kind, oid) for kind in Kind}) == len(Kind)


@given(strings, oids, strings, strings)
def test_no_text_moves_from_one_part_to_another(db: str, oid: str, name: str, text: str) -> None:
    if text and len(oid + text) <= 64:
        spellings = {
            encode(db + text, Kind.CHILD, oid, name),
            encode(db, Kind.CHILD, text + oid, name),
            encode(db, Kind.CHILD, oid, text + name),
        }
        assert len(spellings) == 3


def test_a_child_called_like_an_annotation_is_not_the_annotation() -> None:
    # Guillotina's own keys collide here; if they no longer do, this test has lost its reason.
    guillotina: Any = type("Cache", (BaseCache,), {"__init__": lambda self: None})()
    guillotina._transaction = type("T", (), {"manager": type("M", (), {"db_id": "db"})})
    child: dict[str, Any] = {"container": "parent", "id": "default-annotation"}
    annotation: dict[str, Any] = {"container": "parent", "id": "default", "variant": "annotation"}
    assert guillotina.get_key(**child) == guillotina.get_key(**annotation)

    assert from_cache_arguments("db", **child) != from_cache_arguments("db", **annotation)


def test_the_byte_form_is_compact_and_readable() -> None:
    oid = "0" * 32
    assert encode("db", Kind.CHILD, oid, "front-page") == b"c\x02db\x20" + oid.encode() + b"front-page"


def test_an_oid_is_cut_as_the_database_cuts_it() -> None:
    stored = "é" * 64
    assert stored_oid(stored + "x") == stored
    assert encode("db", Kind.OBJECT, stored + "x") == encode("db", Kind.OBJECT, stored)
    assert encode("db", Kind.CHILD, stored + "x", "id") == encode("db", Kind.CHILD, stored, "id")
    assert encode("db", Kind.OBJECT, stored[1:]) != encode("db", Kind.OBJECT, stored)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in NAMED])
def test_a_kind_without_name_refuses_one(kind: Kind) -> None:
    with pytest.raises(KeyFormatError, match=f"^a key of kind {kind.name} has no name, got 'id'$"):
        encode("db", kind, "oid", "id")


@pytest.mark.parametrize("parts", [(None, "oid", "id"), ("db", None, "id"), ("db", "oid", 5), ("db", "oid", b"id")])
def test_what_is_not_a_string_is_refused(parts: tuple[Any, Any, Any]) -> None:
    db, oid, name = parts
    with pytest.raises(TypeError):
        encode(db, Kind.CHILD, oid, name)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "does not begin with one of o, c, a, k, l, n"),
        (b"x\x02db\x03oid", "does not begin with one of o, c, a, k, l, n"),
        (b"o", "it ends within its database id"),
        (b"o\x05db", "it ends within its database id"),
        (b"o\x02db", "it ends within its object id"),
        (b"o\x02db\x04oid", "it ends within its object id"),
        (b"o\x02db\x03oidname", "kind OBJECT has no name"),
        (b"o\x02db\x41" + b"o" * 65, "its object id has 65 characters"),
        (b"o\x02db\x03o\xffd", "invalid start byte at byte 6"),
        (b"o\x02db\x03oid\xc0\x80", "invalid start byte at byte 8"),
    ],
)
def test_malformed_bytes_are_a_clear_error(data: bytes, problem: str) -> None:
    with pytest.raises(KeyFormatError) as caught:
        decode(data)
    message = str(caught.value)
    assert message.startswith(f"{data[:80]!r}") and problem in message and "\n" not in message


@given(st.binary())
def test_any_bytes_are_one_key_or_an_error(data: bytes) -> None:
    try:
        key = decode(data)
    except KeyFormatError:
        return
    assert encode(*key) == data


@given(keys, st.data())
def test_a_cut_or_changed_key_is_another_key_or_an_error(key: Key, data: st.DataObject) -> None:
    encoded = bytearray(encode(*key))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    changed = bytes(encoded[: data.draw(st.integers(0, len(encoded)))])
    try:
        other = decode(changed)
    except KeyFormatError:
        return
    assert encode(*other) == changed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # Transaction
        ({"oid": "o"}, Key("db", Kind.OBJECT, "o")),
        ({"container": Content("o"), "id": "i"}, Key("db", Kind.CHILD, "o", "i")),
        ({"container": "o", "id": "i"}, Key("db", Kind.CHILD, "o", "i")),
        ({"container": "o", "id": ""}, Key("db", Kind.CHILD, "o", "")),
        (
            {"container": Content("o"), "id": "i", "variant": "annotation"},
            Key("db", Kind.ANNOTATION, "o", "i"),
        ),
        ({"oid": "o", "variant": "keys"}, Key("db", Kind.KEYS, "o")),
        ({"oid": "o", "variant": "len"}, Key("db", Kind.LEN, "o")),
        ({"oid": "o", "variant": "annotation-keys"}, Key("db", Kind.ANNOTATION_KEYS, "o")),
        # BaseCache.get_cache_keys
        ({"oid": "o", "id": "i", "variant": "annotation"}, Key("db", Kind.ANNOTATION, "o", "i")),
        ({"container": Content("o"), "variant": "len"}, Key("db", Kind.LEN, "o")),
        ({"container": Content("o"), "variant": "keys"}, Key("db", Kind.KEYS, "o")),
        # oid instead of container, and preferred to it, as in BaseCache.get_key
        ({"oid": "o", "id": "i"}, Key("db", Kind.CHILD, "o", "i")),
        ({"oid": "o", "container": "c"}, Key("db", Kind.OBJECT, "o")),
        # of nothing: the parent of the root, an object that has no oid yet, a record without parent or id
        ({}, None),
        ({"container": None, "variant": "len"}, None),
        ({"container": Content(None), "id": "i"}, None),
        ({"container": None, "id": None}, None),
        ({"container": None, "id": "default"}, None),
        ({"container": "o", "id": None}, None),
        # arguments that no version of Guillotina uses
        ({"oid": "o", "variant": "annotation"}, None),
        ({"oid": "o", "variant": "blob"}, None),
        ({"oid": "o", "id": "i", "variant": "keys"}, None),
    ],
)
def test_arguments_of_the_cache_interface(arguments: dict[str, Any], expected: Key | None) -> None:
    encoded = from_cache_arguments("db", **arguments)
    assert (encoded if encoded is None else decode(encoded)) == expected
