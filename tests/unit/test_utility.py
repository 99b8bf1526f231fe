"""The cache of a process starts, serves, and ends with nothing left, whatever is under way."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from guillotina.db.storages.dummy import DummyStorage

from guillotina_groupcache.constants import MAX_DATABASE_ID, MAX_DATABASES, CompletionKind, Source
from guillotina_groupcache.database.members import Members
from guillotina_groupcache.interfaces import ConfigurationError, GroupcacheError
from guillotina_groupcache.native import Completion
from guillotina_groupcache.utility import GroupcacheUtility
from harness.cluster import SECRET
from harness.local import free_port
from harness.postgres_server import PostgresServer
from tests.unit.life_app import App, add, object_key, running, set_title, title
from tests.unit.life_database import connected
from tests.unit.life_script import run_script

#: Threads that a Go runtime may start late: for the collector, a blocked call, a timer.
LATE_THREADS = 4
#: Starts and stops a cache of each kind five times, and prints how many descriptors and threads each time leaves.
START_AND_STOP = """
import asyncio, json, os, sys, uvloop
from harness.cluster import SECRET
from harness.local import free_port
from tests.unit.life_app import add, running, set_title, title

async def cycle(dsn, number, groupcache):
    before = asyncio.all_tasks()
    async with running(dsn, groupcache) as app:
        oid = await add(app, f"folder-{number}", "Container")
        await set_title(app, oid, "new")
        assert await title(app, oid) == "new"
        assert app.utility.local_stats()["hits"]["own"]
    left = asyncio.all_tasks() - before
    # Guillotina does not wait for its own vacuum's end.
    await asyncio.gather(*left, return_exceptions=True)
    assert all("Vacuum" in repr(task) for task in left), left

def left():
    names = os.listdir("/proc/self/fd")
    return len(names), len(os.listdir("/proc/self/task"))

dsn, own, loop = sys.argv[1:]
new_loop = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[loop]
counts = []
for number in range(5):
    loop = new_loop()
    peer = {"listen": f"127.0.0.1:{free_port()}", "secret": SECRET}
    for i, groupcache in enumerate(({"peers": []}, None, peer)):
        # A process alone waits until the cluster that has just ended is known to have ended.
        loop.run_until_complete(cycle(dsn if i else own, 3 * number + i, groupcache))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    counts.append(left())
print(json.dumps(counts))
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_start_stop_and_start_again(database: str, postgres: PostgresServer, loop: str) -> None:
    """No descriptor, thread or task is left: of a process alone, and of peers with and without a `listen` setting."""
    output = run_script(
        START_AND_STOP,
        database,
        postgres.create_database(f"groupcache_{os.getpid()}_own_{loop}"),
        loop,
    )
    counts = json.loads(output.splitlines()[-1])
    (descriptors, threads), (descriptors_later, threads_later) = counts[1], counts[4]
    assert descriptors_later == descriptors, counts
    assert threads_later <= threads + LATE_THREADS, counts


async def test_initialize_and_finalize_twice(database: str) -> None:
    async with running(database) as app:
        node = app.utility._node
        await app.utility.initialize()
        assert app.utility._node is node
        await app.utility.finalize()
        await app.utility.finalize()


async def test_before_the_start_and_after_the_end(database: str) -> None:
    async with running(database, {"peers": []}) as app:
        oid = await add(app, "c", "Container")
        await app.utility.finalize()
        for utility in (GroupcacheUtility(), app.utility):
            assert await utility.reads.get(object_key(oid)) == (None, Source.NOWHERE)
            assert await utility.reads.get_many([object_key(oid)] * 2) == [(None, Source.NOWHERE)] * 2
            assert utility.local_stats() == {} == await utility.get_stats(cluster=True)
            assert not utility.serves("db")
        await set_title(app, oid, "no peer has to learn of it")
        assert await title(app, oid) == "no peer has to learn of it"


async def test_a_process_caches_so_many_databases_and_no_more(database: str) -> None:
    async with running(database, {"peers": []}) as app:
        for number in range(1, MAX_DATABASES):
            assert await app.utility.add_database(SimpleNamespace(id=f"db{number}", storage=DummyStorage()))
        with pytest.raises(ConfigurationError, match="'more' is one too many") as caught:
            await app.utility.add_database(SimpleNamespace(id="more", storage=DummyStorage()))
        assert "\n" not in str(caught.value)


def test_a_line_of_the_library_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Peers can cause a part of its text."""
    text = "connection with \x1b[2J closed\nERROR the site is down " + "x" * 100_000
    GroupcacheUtility()._completions.take([Completion(CompletionKind.LOG, 0, b"warning\0" + text.encode())])
    (record,) = caplog.records
    assert record.levelname == "WARNING" and record.getMessage().isprintable()
    assert r"\x1b[2J closed\nERROR" in record.getMessage() and len(record.getMessage()) < 20_000


async def test_an_id_that_no_peer_would_take(database: str) -> None:
    async with running(database, {"peers": []}) as app:
        for id_ in ("d" * MAX_DATABASE_ID, "é" * (MAX_DATABASE_ID // 2)):
            assert await app.utility.add_database(SimpleNamespace(id=id_, storage=DummyStorage()))
        for id_ in ("d" * (MAX_DATABASE_ID + 1), "é" * (MAX_DATABASE_ID // 2 + 1)):
            with pytest.raises(ConfigurationError, match=r"is too long an id: .* at most 256 bytes"):
                await app.utility.add_database(SimpleNamespace(id=id_, storage=DummyStorage()))


async def test_a_peer_commits_nothing_after_its_end(database: str) -> None:
    """The other processes could not learn of it."""
    async with running(database, {"listen": f"127.0.0.1:{free_port()}", "secret": SECRET}) as app:
        oid = await add(app, "c", "Container")
        await app.utility.finalize()
        with pytest.raises(GroupcacheError, match="has ended"):
            await set_title(app, oid, "not announced")
        assert await title(app, oid) == "c"


async def test_a_thousand_at_once(database: str) -> None:
    async with running(database, pool_size=2) as app:
        oids = [await add(app, f"c{i}", "Container") for i in range(5)]
        await app.utility.clear()
        loads = app.utility.local_stats()["local_loads"]
        wanted = [object_key(oid) for oid in oids]
        found = await asyncio.gather(*(app.utility.reads.get(wanted[i % len(wanted)]) for i in range(1000)))
        assert [value["zoid"] for value, _ in found] == oids * 200
        assert app.utility.local_stats()["local_loads"] - loads == len(oids)


async def test_a_thousand_at_once_in_doubt(database: str) -> None:
    """R4: the database is read, by one load at a time."""
    async with running(database, pool_size=2) as app:
        oid = await add(app, "c", "Container")
        with counted_loads(app) as reads:
            event = await app.utility.events.announce("db", [object_key(oid)])
            found = await asyncio.gather(*(app.utility.reads.get(object_key(oid)) for _ in range(1000)))
            app.utility.events.settle(event)
        assert {value["zoid"] for value, _ in found} == {oid}
        assert {source for _, source in found} == {Source.BYPASS}
        assert len(reads) <= 2


@contextmanager
def counted_loads(app: App) -> Iterator[list[str]]:
    """The object ids that are loaded from the database while the block runs."""
    storage, loaded = app.database.storage, []
    load = storage.load

    async def counted(txn: object, oid: str) -> object:
        loaded.append(oid)
        return await load(txn, oid)

    storage.load = counted
    try:
        yield loaded
    finally:
        storage.load = load


async def test_a_user_who_may_not_make_the_members_table(database: str) -> None:
    """Guillotina creates a sequence at every start, so the right can only be missing if it was revoked later."""
    role = f"limited_{os.getpid()}"
    async with running(database, {"peers": []}) as app, connected(database) as connection:
        storage = app.database.storage
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'limited'")
        try:
            host = urlsplit(database)
            storage._dsn = host._replace(netloc=f"{role}:limited@{host.hostname}:{host.port}").geturl()
            members = Members(lambda query, answer: None, lambda *note: None)
            members.add("db", storage)
            with pytest.raises(ConfigurationError, match="permission denied") as caught:
                await members.create("db")
            assert "groupcache_members cannot be made" in str(caught.value) and "\n" not in str(caught.value)
            await members.stop()
        finally:
            await connection.execute(f"DROP ROLE {role}")
