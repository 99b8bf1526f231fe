"""A cached value comes out as it was put in, in one form whatever its source was, or is refused."""

from __future__ import annotations

import datetime
import decimal
import pickle
import uuid
from typing import Any

import msgspec
import pytest
from guillotina.db.transaction import _EMPTY
from hypothesis import given, settings
from hypothesis import strategies as st

from guillotina_groupcache.interfaces import RecordError
from guillotina_groupcache.records import (
    ABSENT,
    FIELDS,
    MAX_ENCODED_SIZE,
    MAX_RECORD_SIZE,
    TOO_LARGE,
    Marker,
    decode,
    encode,
    pushed,
)

# No deadline: how long an example takes says nothing on a machine that others use as well.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")

# What PostgreSQL's text, bigint and bytea hold.
texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.integers(-(2**63), 2**63 - 1)
states = st.binary()
optional_texts = st.none() | texts

records = st.fixed_dictionaries(
    {
        "zoid": texts,
        "tid": numbers,
        "state_size": numbers,
        "resource": st.booleans(),
        "of": optional_texts,
        "parent_id": optional_texts,
        "id": optional_texts,
        "type": texts,
        "state": st.none() | states,
    }
)


def record(**columns: Any) -> dict[str, Any]:
    known = {
        "zoid": "z" * 32,
        "tid": 7,
        "state_size": 3,
        "resource": True,
        "of": None,
        "parent_id": "p" * 32,
        "id": "front-page",
        "type": "Item",
        "state": b"\x00\xff.",
    }
    return {**known, **columns}


def columns_of(value: Any) -> list[str]:
    assert type(value) is dict
    return list(value)


@given(records, st.permutations(FIELDS))
def test_a_record_in_any_column_order_comes_out_in_one(values: dict[str, Any], order: list[str]) -> None:
    decoded = decode(encode({name: values[name] for name in order}))
    assert decoded == values
    assert columns_of(decoded) == list(FIELDS)
    assert encode({name: values[name] for name in order}) == encode(values)


@given(records, st.dictionaries(texts, st.none() | st.booleans() | numbers | texts | states, min_size=1))
def test_unknown_columns_survive(values: dict[str, Any], others: dict[str, Any]) -> None:
    everything = {**others, **values}
    decoded = decode(encode(everything))
    assert decoded == everything
    assert columns_of(decoded) == [*FIELDS, *sorted(everything.keys() - FIELDS)]


@pytest.mark.parametrize("missing", FIELDS)
def test_missing_columns_stay_missing(missing: str) -> None:
    values = record()
    del values[missing]
    decoded = decode(encode(values))
    assert decoded == values and columns_of(decoded) == [name for name in FIELDS if name != missing]


@given(st.lists(optional_texts))
def test_ids(ids: list[str | None]) -> None:
    assert decode(encode(ids)) == ids


def test_ids_that_look_like_a_row_are_ids() -> None:
    assert decode(encode(["a"] * len(FIELDS))) == ["a"] * len(FIELDS)


@given(numbers)
def test_numbers(number: int) -> None:
    decoded = decode(encode(number))
    assert decoded == number and type(decoded) is int


def test_marks() -> None:
    assert decode(encode(_EMPTY)) == _EMPTY
    assert decode(encode(ABSENT)) is ABSENT
    assert decode(encode(TOO_LARGE)) is TOO_LARGE
    assert list(Marker) == [ABSENT, TOO_LARGE]


def test_forms_have_different_bytes() -> None:
    values: list[Any] = [_EMPTY, ABSENT, TOO_LARGE, 0, 1, 2, [], [None], {}, record(), record(extra=0)]
    assert len({encode(value) for value in values}) == len(values)


def test_a_state_up_to_the_limit_is_cached_and_a_larger_one_is_not() -> None:
    assert decode(encode(record(state=bytes(MAX_RECORD_SIZE)))) == record(state=bytes(MAX_RECORD_SIZE))
    assert decode(encode(record(state=bytes(MAX_RECORD_SIZE + 1)))) is TOO_LARGE
    assert decode(encode(record(state=bytes(MAX_RECORD_SIZE + 1), extra=1))) is TOO_LARGE


def test_no_value_exceeds_the_encoded_limit() -> None:
    largest = encode(record(state=bytes(MAX_RECORD_SIZE)))
    assert MAX_RECORD_SIZE < len(largest) <= MAX_ENCODED_SIZE
    assert decode(encode(record(id="i" * MAX_ENCODED_SIZE))) is TOO_LARGE
    assert decode(encode(["i" * 1024] * (MAX_ENCODED_SIZE // 1024))) is TOO_LARGE


def test_the_state_is_a_copy_of_its_own() -> None:
    buffer = bytearray(encode(record(state=b"state")))
    decoded = decode(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert decoded == record(state=b"state")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "allowed are"),
        (True, "allowed are"),
        (1.5, "allowed are"),
        ("text", "allowed are"),
        (b"bytes", "allowed are"),
        (("a", "b"), "allowed are"),
        (2**64, "ints"),
        (["a", 5], "str"),
        (["\ud800"], "surrogates not allowed"),
        (record(tid="7"), "Expected `int`, got `str`"),
        (record(zoid=uuid.UUID(int=1)), "Expected `str`, got `uuid`"),
        (record(resource=1), "Expected `bool`, got `int`"),
        (record(type=None), "Expected `str`, got `null`"),
        (record(type="\ud800"), "surrogates not allowed"),
        (record(extra=datetime.date(2024, 1, 1)), "the column 'extra' holds a date"),
        (record(extra=datetime.datetime(2024, 1, 1)), "the column 'extra' holds a datetime"),
        (record(extra=uuid.UUID(int=1)), "the column 'extra' holds a UUID"),
        (record(extra=decimal.Decimal(1)), "the column 'extra' holds a Decimal"),
        (record(extra=(1, 2)), "the column 'extra' holds a tuple"),
        (record(extra=object()), "object"),
    ],
)
def test_a_value_that_would_come_out_changed_is_refused(value: Any, problem: str) -> None:
    with pytest.raises(RecordError, match=f"^a value of type {type(value).__name__} cannot be cached: ") as caught:
        encode(value)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\xc1",
        pickle.dumps(record()),
        msgspec.msgpack.encode(record()),
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode([9, 0]),
        msgspec.msgpack.encode([0, *record().values(), "more"]),
        msgspec.msgpack.encode([0, *list(record().values())[:-1]]),
        msgspec.msgpack.encode([3, "one"]),
        msgspec.msgpack.encode([4, 3]),
        msgspec.msgpack.encode([4, 1]) + b"\x00",
        encode(record())[:-1],
        b"\x92\x02\x91\xa1\xff",  # a string that is not UTF-8
        b"\x92\x02\xdd\xff\xff\xff\xff",  # a list of 2^32 items, none of which is there
        b"\x92\x01\x81\xa1a" + b"\x91" * 100_000,  # nested too deeply
        b"\x92\x01\x81\xa1a\x81\x80\x00",  # a key that cannot be hashed
    ],
)
def test_malformed_bytes_are_a_clear_error(data: bytes) -> None:
    with pytest.raises(RecordError, match=f"^these {len(data)} bytes are not a cached value: .+"):
        decode(data)


@given(st.binary(max_size=64), records, st.data())
def test_any_bytes_are_a_value_or_an_error(noise: bytes, values: dict[str, Any], data: st.DataObject) -> None:
    whole = encode(values)
    place = data.draw(st.integers(0, len(whole)))
    for changed in (noise, whole[:place] + noise, whole[:place] + noise + whole[place + len(noise) :]):
        try:
            decode(changed)
        except RecordError:
            continue


class Content:
    def __init__(self, uuid: str | None) -> None:
        self.__uuid__ = uuid


class Writer:
    resource = True
    of: str | None = None
    parent_id: str | None = "p" * 32
    id: str | None = "front-page"
    type = "Item"


def test_a_pushed_record_is_the_loaded_one() -> None:
    value = pushed("z" * 32, b"\x00\xff.", 7, Writer())
    assert value == record()
    assert columns_of(value) == list(FIELDS)
    assert encode(value) == encode(record())


def test_a_pushed_annotation() -> None:
    writer = Writer()
    writer.of, writer.parent_id, writer.id, writer.type = "o" * 32, None, "default", "a.b.Annotation"
    writer.resource = False
    value = pushed("z" * 32, b"", 8, writer)
    assert value == record(
        tid=8,
        state_size=0,
        resource=False,
        of="o" * 32,
        parent_id=None,
        id="default",
        type=writer.type,
        state=b"",
    )


def test_a_pushed_record_has_its_object_ids_cut_as_the_database_cuts_them() -> None:
    writer = Writer()
    writer.of, writer.parent_id = "o" * 70, "p" * 70
    value = pushed("z" * 70, b"", 8, writer)
    assert (value["zoid"], value["of"], value["parent_id"]) == ("z" * 64, "o" * 64, "p" * 64)
