"""Prometheus gets each metric of the process once, and Guillotina's own counters are right."""

from __future__ import annotations

from guillotina.db import transaction as transactions
from guillotina.transactions import transaction
from prometheus_client import REGISTRY, generate_latest

from guillotina_groupcache import keys
from tests.unit.life_app import App, add, object_key, running, set_title, title, until
from tests.unit.life_database import connected

OURS = "guillotina_cache_groupcache_"


def exposed() -> dict[str, float]:
    """The samples of this package that are scraped, by name and labels."""
    lines = [line for line in generate_latest().decode().splitlines() if line.startswith(OURS)]
    samples = dict(line.rsplit(" ", 1) for line in lines)
    assert len(samples) == len(lines), "a sample appears twice"
    return {name.removeprefix(OURS): float(value) for name, value in samples.items()}


def ops(result: str, name: str = "_get") -> float:
    """Guillotina's own counter."""
    return REGISTRY.get_sample_value("guillotina_cache_ops_total", {"type": name, "result": result}) or 0.0


async def test_registered_while_a_utility_lives(database: str) -> None:
    record = transactions.record_cache_metric
    for _ in range(2):
        assert not exposed()
        async with running(database) as app:
            await app.utility.initialize()
            found = exposed()
            assert found["serving"] == 1
            assert found["gets_total"] == app.utility.local_stats()["gets"]
            assert transactions.record_cache_metric is not record
        assert transactions.record_cache_metric is record
    assert not exposed()


async def test_what_is_counted(database: str) -> None:
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        await app.utility.clear()
        before = exposed()
        for _ in range(3):
            await app.utility.reads.get(object_key(oid))
        event = await app.utility.events.announce("db", [object_key(oid)])
        await app.utility.reads.get(object_key(oid))
        assert exposed()["buckets_in_doubt"] == 1
        assert exposed()["longest_doubt_seconds"] > 0
        app.utility.events.settle(event)
        assert exposed()['items{store="main"}'] > 0
        counted = {name: value - before.get(name, 0) for name, value in exposed().items()}
    for name, value in {
        "gets_total": 4,
        "local_loads_total": 1,
        "bypasses_total": 1,
        'hits_total{source="own"}': 2,
        'hits_total{source="database"}': 1,
        'hits_total{source="hot"}': 0,
        'events_total{result="announced"}': 1,
        'events_total{result="settled"}': 1,
        "buckets_in_doubt": 0,
        "longest_doubt_seconds": 0,
    }.items():
        assert counted[name] == value, name


async def test_a_database_that_does_not_answer_is_named(database: str) -> None:
    async with running(database) as app:
        assert app.utility.local_stats()["unreachable_databases"] == []
        app.utility._node.database("far", keys.prefix("far"))  # type: ignore[union-attr]
        assert app.utility.local_stats()["unreachable_databases"] == ["far"]
        assert exposed()['database_unreachable{database="far"}'] == 1
        assert exposed()["serving"] == 1


async def test_writes_from_outside_are_counted_by_kind(database: str) -> None:
    async with running(database) as app, connected(database) as connection:
        oid = await add(app, "c", "Container")
        kinds = [f'outside_writes_total{{kind="{kind}"}}' for kind in ("named", "everything")]
        await until(lambda: exposed()[kinds[1]] > 0, "the note that the triggers were made")
        named, everything = (exposed()[kind] for kind in kinds)
        assert named + everything == app.utility.local_stats()["outside_writes"]["applied"]
        await connection.execute("UPDATE objects SET state = state || ' ' WHERE zoid = $1", oid)
        await until(lambda: exposed()[kinds[0]] == named + 1, "a note that names a row")
        assert exposed()[kinds[1]] == everything


async def test_a_process_that_bypasses_says_why(database: str) -> None:
    async with running(database) as app:
        app.utility._node.leave()  # type: ignore[union-attr]
        found = exposed()
        assert found["serving"] == 0
        assert found['bypassing{reason="it has left"}'] == 1


async def test_guillotinas_counters_of_the_process(database: str) -> None:
    """A value that was loaded for this very call is a miss, though the strategy returned it."""
    async with running(database) as app:
        parent = await add(app, "c", "Container")
        oid = await add(app, "item", parent=parent)
        await app.utility.clear()
        assert await counted(app, oid) == {"miss": 1, "hit": 0}
        assert await counted(app, oid) == {"miss": 0, "hit": 1}
        await set_title(app, oid, "pushed")
        assert await counted(app, oid) == {"miss": 0, "hit": 1}
        event = await app.utility.events.announce("db", [object_key(oid)])
        assert await counted(app, oid) == {"miss": 1, "hit": 0}
        app.utility.events.settle(event)


async def counted(app: App, oid: str) -> dict[str, float]:
    """The misses and hits that a read of an object adds."""
    before = {result: ops(result) for result in ("miss", "hit")}
    await title(app, oid)
    return {result: ops(result) - value for result, value in before.items()}


async def test_guillotinas_counters_of_a_transaction(database: str) -> None:
    """They are shown in the headers XG-Cache-*."""
    async with running(database) as app:
        oid = await add(app, "c", "Container")
        await app.utility.clear()
        for counts in ((0, 1, 1), (1, 0, 0)):
            async with transaction(db=app.database, read_only=True, abort_when_done=True) as txn:
                await txn.get(oid)
                cache = txn._cache
                assert (cache._hits, cache._misses, cache._stored) == counts
