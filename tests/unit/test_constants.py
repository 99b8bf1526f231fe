"""The numbers that Python and the library both have are the same, and neither side has one more."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from guillotina_groupcache import constants, native, throttled
from guillotina_groupcache.constants import CompletionKind, Missed, Source
from guillotina_groupcache.database import loader
from guillotina_groupcache.settings import parser


def numbers(enum: type[IntEnum]) -> dict[str, int]:
    return {member.name.lower(): member.value for member in enum}


def test_the_library_has_the_same_numbers() -> None:
    ffi, library = native._load()
    buffer = ffi.new("uint8_t[]", 4096)
    size = library.gc_constants(buffer, len(buffer))
    sources = numbers(Source)
    del sources["bypass"]  # the library never answers it
    near_words = {"hits": constants.NEAR_HITS, "items": constants.NEAR_ITEMS, "bytes": constants.NEAR_BYTES}
    assert msgspec.json.decode(ffi.buffer(buffer, size)[:]) == {
        "sources": sources,
        "completion_kinds": numbers(CompletionKind),
        "missed": numbers(Missed),
        "header_words": constants.HEADER_WORDS,
        "near_words": near_words,
        "max_databases": constants.MAX_DATABASES,
        "max_database_id": constants.MAX_DATABASE_ID,
        "max_ttl": parser.MAX_TTL,
        "load_timeout": loader.LOAD_TIMEOUT,
        "log_every": throttled.LOG_EVERY,
    }
