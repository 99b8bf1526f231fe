"""Near entries are used only while the version table and the lease allow it, and stay within their limit."""

from __future__ import annotations

import copy
import os
import pickle
import time
from typing import Any

import pytest
from guillotina.db.transaction import Transaction
from guillotina.transactions import transaction

from guillotina_groupcache import keys
from guillotina_groupcache.constants import EPOCH, HEADER_WORDS, NEAR_BYTES, NEAR_HITS, NEAR_ITEMS, Source
from guillotina_groupcache.native import Found
from guillotina_groupcache.near_cache import OVERHEAD, NearCache, NearEntry
from tests.unit.life_app import App, add, object_key, running, set_title, until
from tests.unit.life_database import connected

VERSION = 2**64 - 2
NEVER = 2**63 - 1
DEADLINE = HEADER_WORDS - 1  #: the index of the database's deadline


def made(limit: int = 10**6) -> tuple[NearCache, memoryview]:
    """A near cache over a table of eight buckets, and the table."""
    words = memoryview(bytearray(8 * (HEADER_WORDS + 8 + 3))).cast("Q")
    words[EPOCH], words[DEADLINE], words[HEADER_WORDS] = VERSION - 10, 2**62, 10
    return NearCache(words, limit), words


def found(size: int = 100, version: int = VERSION) -> Found:
    return Found(Source.OWN, bytes(size), version, HEADER_WORDS, NEVER, DEADLINE)


def record(zoid: str) -> dict[str, Any]:
    return {"zoid": zoid, "state": b"state"}


def test_a_kept_record_is_shared_and_cannot_be_changed() -> None:
    near, _ = made()
    entries = near.entries("db")
    value = near.keep((entries, "o"), record("o"), found())
    assert entries["o"].value is value and value == record("o") and isinstance(value, dict)
    for change in (
        lambda: value.__setitem__("a", 1),
        lambda: value.__delitem__("zoid"),
        lambda: value.update(a=1),
        lambda: value.pop("zoid"),
        lambda: value.popitem(),
        lambda: value.setdefault("a", 1),
        lambda: value.clear(),
        lambda: value.__ior__({"a": 1}),
    ):
        with pytest.raises(TypeError, match="change a copy"):
            change()
    for made_of_it in (dict(value), copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert type(made_of_it) is dict and made_of_it == record("o")


@pytest.mark.parametrize("value", [["a", "b"], None])
def test_values_that_a_reader_may_change_and_markers_are_not_kept(value: Any) -> None:
    near, _ = made()
    entries = near.entries("db")
    assert near.keep((entries, "o"), value, found()) is value
    assert not entries


def test_a_value_whose_bucket_was_bumped_meanwhile_is_not_kept() -> None:
    near, words = made()
    entries = near.entries("db")
    words[HEADER_WORDS] += 2
    near.keep((entries, "o"), record("o"), found())
    assert not entries


def test_versions_are_those_of_64_bits() -> None:
    near, words = made()
    entries = near.entries("db")
    words[EPOCH], words[HEADER_WORDS] = VERSION, VERSION
    near.keep((entries, "o"), record("o"), found(version=(2 * VERSION) % 2**64))
    assert entries["o"].version == words[EPOCH] + words[HEADER_WORDS]


def test_the_limit_holds_and_an_entry_that_was_used_stays() -> None:
    near, words = made(limit=16 * (100 + OVERHEAD))
    entries = near.entries("db")
    for i in range(1000):
        near.keep((entries, f"o{i}"), record(f"o{i}"), found())
        entries["o0"].used = True
        assert words[NEAR_BYTES] <= 16 * (100 + OVERHEAD)
    assert "o0" in entries and "o1" not in entries and len(entries) == words[NEAR_ITEMS] == 16


def test_a_new_version_takes_the_place_of_the_old_one() -> None:
    near, words = made()
    entries = near.entries("db")
    for size in (100, 5000, 10):
        near.keep((entries, "o"), record("o"), found(size))
        assert (words[NEAR_ITEMS], words[NEAR_BYTES]) == (1, size + OVERHEAD)


def test_a_new_version_is_tested_by_what_was_found_with_it() -> None:
    near, words = made()
    entries = near.entries("db")
    bucket, deadline, expires = HEADER_WORDS, DEADLINE, NEVER
    for step in range(3):
        words[bucket + step] = 10
        near.keep(
            (entries, "o"), record("o"), Found(Source.OWN, b"", VERSION, bucket + step, expires - step, deadline - step)
        )
        entry = entries["o"]
        assert (entry.word, entry.expires, entry.deadline) == (bucket + step, expires - step, deadline - step)


def test_hits_are_counted_until_the_end() -> None:
    near, words = made()
    for hits in (3, 4):
        near.count(hits)
    assert words[NEAR_HITS] == 7
    near.clear()
    near.count(1)
    assert words[NEAR_HITS] == 7


def test_a_value_that_would_evict_too_much_is_not_kept() -> None:
    near, _ = made()
    entries = near.entries("db")
    near.keep((entries, "o"), record("o"), found(10**6 // 8))
    assert not entries


def test_nothing_is_kept_or_found_after_clear() -> None:
    near, _ = made()
    entries = near.entries("db")
    near.keep((entries, "o"), record("o"), found())
    near.clear()
    assert not entries
    near.keep((entries, "o"), record("o"), found())
    assert not entries


def test_nothing_is_left_in_a_forked_child() -> None:
    near, _ = made()
    entries = near.entries("db")
    near.keep((entries, "o"), record("o"), found())
    child = os.fork()
    if not child:
        os._exit(len(entries))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert entries


async def reading(app: App, oid: str) -> tuple[Any, Transaction]:
    """The near entry's value of an object, and a transaction that has read it often enough to get that."""
    txn = Transaction(app.database.get_transaction_manager(), read_only=True)
    for _ in range(3):
        row = await txn._get(oid)
    assert entry(app, oid).value is row
    return row, txn


def entry(app: App, oid: str) -> NearEntry:
    return app.utility.reads.near.entries("db")[oid]


async def test_a_hot_read_calls_no_library(database: str) -> None:
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        row, txn = await reading(app, oid)
        asked = app.utility._node.stats()["gets"]  # type: ignore[union-attr]
        assert await txn._get(oid) is row
        assert app.utility._node.stats()["gets"] == asked  # type: ignore[union-attr]
        await txn._cache.close()
        hits = app.utility.local_stats()["hits"]["near"]
        assert hits == app.utility.local_stats()["gets"] - asked > 0
        await txn._cache.close()
        assert app.utility.local_stats()["hits"]["near"] == hits, "each hit is counted once"


async def test_a_write_is_seen_at_once(database: str) -> None:
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        row, txn = await reading(app, oid)
        await set_title(app, oid, "new")
        assert (await txn._get(oid))["tid"] > row["tid"]


async def test_what_is_in_doubt_is_read_from_the_database(database: str) -> None:
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        row, txn = await reading(app, oid)
        event = await app.utility.events.announce("db", [object_key(oid)])
        again = await txn._get(oid)
        assert dict(again) == row and again is not row
        app.utility.events.settle(event)
        everything = await app.utility.events.announce("db", (), everything=True)
        assert await txn._get(oid) is not row
        app.utility.events.settle(everything)


async def test_a_process_that_bypasses_uses_no_near_entry(database: str) -> None:
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        row, txn = await reading(app, oid)
        async with connected(database) as connection, connection.transaction():
            await connection.execute("LOCK TABLE groupcache_members IN ACCESS EXCLUSIVE MODE")
            await until(lambda: not app.utility.local_stats()["serving"], "the lease to run out")
            assert await txn._get(oid) is not row


async def test_a_near_entry_has_the_deadline_of_its_own_database(database: str) -> None:
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        row, txn = await reading(app, oid)
        table, word = app.utility.reads.near.table, entry(app, oid).deadline
        other = app.utility._node.database("other", keys.prefix("other"))  # type: ignore[union-attr]
        assert other is not None and word < other < HEADER_WORDS
        assert table[other] == 0 and txn._cache._near_hit(oid) is row
        left, table[word] = table[word], 0
        assert txn._cache._near_hit(oid) is None
        table[word] = left
        assert txn._cache._near_hit(oid) is row
        entry(app, oid).deadline = other
        assert txn._cache._near_hit(oid) is None


async def test_a_value_expires(database: str) -> None:
    async with running(database, {"ttl": 3600}) as app:
        oid = await add(app, "c", "Container")
        row, txn = await reading(app, oid)
        left = entry(app, oid).expires - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        assert 0 < left <= 3600 * 10**9
        entry(app, oid).expires -= left + 1
        assert await txn._get(oid) is not row


async def test_what_was_written_past_the_cache_is_read_when_the_ttl_is_over(database: str) -> None:
    async with running(database, {"ttl": 2}) as app:
        oid = await add(app, "c", "Container")
        row, txn = await reading(app, oid)
        end = entry(app, oid).expires
        assert end <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 2 * 10**9
        async with connected(database) as connection:
            await connection.execute("UPDATE objects SET tid = tid + 1 WHERE zoid = $1", oid)
        begun = 0
        while (await txn._get(oid))["tid"] == row["tid"]:
            assert begun < end
            begun = time.clock_gettime_ns(time.CLOCK_BOOTTIME)


async def test_a_transaction_that_has_written_uses_no_near_entry(database: str) -> None:
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        await reading(app, oid)
        async with transaction(db=app.database, abort_when_done=True) as txn:
            await txn.storage.start_transaction(txn)
            await txn._db_conn.execute("UPDATE objects SET id = 'uncommitted' WHERE zoid = $1", oid)
            assert (await txn._get(oid))["id"] == "uncommitted"


async def test_a_transaction_that_has_only_begun_uses_near_entries(database: str) -> None:
    """As Guillotina makes an object's JSON before it writes it."""
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        row, _ = await reading(app, oid)
        async with transaction(db=app.database, abort_when_done=True) as txn:
            await txn.storage.start_transaction(txn)
            assert await txn._get(oid) is row
            await txn._db_conn.execute("SELECT 1")
            assert await txn._get(oid) is not row
            await txn._db_txn.rollback()
            await txn.storage.start_transaction(txn)
            assert await txn._get(oid) is row
            await txn._db_txn.rollback()
            txn.get_query_count = lambda: 0  # as where asyncpg counts in another way
            await txn.storage.start_transaction(txn)
            assert await txn._get(oid) is not row


async def test_no_near_entry_outlives_the_end(database: str) -> None:
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        row, txn = await reading(app, oid)
        await app.utility.finalize()
        assert not app.utility.reads.near.entries("db")
        assert dict(await txn._get(oid)) == row
