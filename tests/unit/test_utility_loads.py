"""Loads in flight hold nobody up, neither when a reader gives up nor when the cache or the database ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from guillotina_groupcache.constants import Source
from harness.postgres_embedded import EmbeddedPostgres
from tests.unit.life_app import TIMEOUT, add, object_key, running, title
from tests.unit.life_database import blocked, connected, locked


async def test_a_reader_that_gives_up_leaves_the_load_to_the_others(database: str) -> None:
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        await app.utility.clear()
        async with locked(database):
            readers = [asyncio.ensure_future(app.utility.reads.get(object_key(oid))) for _ in range(3)]
            await blocked(database)
            readers[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await readers[0]
        for reader in readers[1:]:
            value, _ = await asyncio.wait_for(reader, TIMEOUT)
            assert value["zoid"] == oid


async def test_the_end_with_loads_in_flight(database: str) -> None:
    """They end, and readers that wait for them are sent to the database."""
    async with running(database) as app:
        oids = [await add(app, f"c{i}", "Container") for i in range(20)]
        await app.utility.clear()
        wanted = [object_key(oid) for oid in oids]
        async with locked(database):
            readers = [asyncio.ensure_future(app.utility.reads.get(key)) for key in wanted * 2]
            readers.append(asyncio.ensure_future(app.utility.reads.get_many(wanted)))
            await blocked(database)
            await asyncio.wait_for(app.utility.finalize(), TIMEOUT)
            *found, many = await asyncio.wait_for(asyncio.gather(*readers), TIMEOUT)
        assert set(found) == {(None, Source.NOWHERE)}
        assert many == [(None, Source.NOWHERE)] * len(wanted)


async def test_the_end_with_loads_in_flight_and_a_database_that_does_not_answer() -> None:
    """Nor does it confirm that a statement is cancelled, which asyncpg waits for without a limit."""
    with EmbeddedPostgres() as server:
        dsn = server.create_database("silent")
        async with running(dsn) as app:
            oid = await add(app, "c", "Container")
            await app.utility.clear()
            async with locked(dsn):
                reader = asyncio.ensure_future(app.utility.reads.get(object_key(oid)))
                await blocked(dsn)
                with stopped(server):
                    await asyncio.wait_for(app.utility.finalize(), TIMEOUT)
                    assert await asyncio.wait_for(reader, TIMEOUT) == (None, Source.NOWHERE)


@contextmanager
def stopped(server: EmbeddedPostgres) -> Iterator[None]:
    """The server takes connections and statements, and answers none, while the block runs."""
    assert server.pid is not None
    postmaster = psutil.Process(server.pid)
    postmaster.suspend()  # so that it starts no new process
    children = postmaster.children(recursive=True)
    _each(children, psutil.Process.suspend)
    try:
        yield
    finally:
        _each([*children, postmaster], psutil.Process.resume)


def _each(processes: Iterable[psutil.Process], do: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a worker that was about to end
            do(process)


async def test_the_end_with_loads_in_doubt_in_flight(database: str) -> None:
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        await app.utility.events.announce("db", [object_key(oid)])
        async with locked(database):
            readers = [asyncio.ensure_future(app.utility.reads.get(object_key(oid)))]
            await blocked(database)
            # A reader that comes while one runs waits for the next.
            readers += [asyncio.ensure_future(app.utility.reads.get(object_key(oid))) for _ in range(3)]
            await asyncio.sleep(0)
            await asyncio.wait_for(app.utility.finalize(), TIMEOUT)
            found = await asyncio.wait_for(asyncio.gather(*readers, return_exceptions=True), TIMEOUT)
        assert found == [(None, Source.NOWHERE)] * 4


async def test_a_load_in_doubt_that_hangs_holds_up_nobody_for_ever() -> None:
    """Its connection may be dead: readers that come later use another one."""
    with EmbeddedPostgres() as server:
        dsn = server.create_database("hanging")
        async with running(dsn) as app:
            oid = await add(app, "c", "Container")
            await app.utility.events.announce("db", [object_key(oid)])
            async with locked(dsn):
                hanging = asyncio.ensure_future(app.utility.reads.get(object_key(oid)))
                await blocked(dsn)
                async with connected(dsn) as connection:
                    pid = await connection.fetchval("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                psutil.Process(pid).suspend()
            try:
                value, source = await asyncio.wait_for(app.utility.reads.get(object_key(oid)), TIMEOUT)
                assert (value["zoid"], source, hanging.done()) == (oid, Source.BYPASS, False)
            finally:
                psutil.Process(pid).resume()
            value, _ = await asyncio.wait_for(hanging, TIMEOUT)
            assert value["zoid"] == oid


async def test_the_end_of_the_server_with_a_request_in_flight(database: str) -> None:
    """Guillotina's own order: utilities, then databases."""
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        await app.utility.clear()
        async with locked(database) as release:
            reader = asyncio.ensure_future(title(app, oid))
            await blocked(database)
            await asyncio.wait_for(app.utility.finalize(), TIMEOUT)
            await release()
        assert await asyncio.wait_for(reader, TIMEOUT) == "c"
