"""What is loaded for the cache is what Guillotina's own methods return."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from guillotina.annotations import AnnotationData
from guillotina.db.transaction import _EMPTY
from guillotina.interfaces import IAnnotations
from guillotina.transactions import transaction

from guillotina_groupcache import keys, records
from guillotina_groupcache.database.loader import BATCH, Loader, _grouped
from guillotina_groupcache.keys import Key, Kind
from guillotina_groupcache.records import ABSENT, MAX_RECORD_SIZE, TOO_LARGE
from tests.unit.life_app import DATABASE, TIMEOUT, App, add, running, uncached
from tests.unit.life_database import connected

NOBODY = "f" * 32
IDS = ["plain", "default-annotation", "a.b-c_d@e$f^g(h)i+j =k", "ünï"]


@pytest.fixture
def loader(app: App) -> Loader:
    loader = Loader()
    loader.add(app.database)
    return loader


async def loaded(loader: Loader, *wanted: Key) -> list[Any]:
    """The values of some keys, through their byte form."""
    values = await loader.load([keys.encode(*key) for key in wanted])
    return [value if value is None else records.decode(value) for value in values]


def key(kind: Kind, oid: str, name: str = "") -> Key:
    return Key(DATABASE, kind, oid, name)


def one_of_each(oid: str) -> list[Key]:
    """A key of each kind."""
    return [key(kind, oid, "x" if kind in (Kind.CHILD, Kind.ANNOTATION) else "") for kind in Kind]


async def make_folder(app: App) -> tuple[str, list[str]]:
    """A folder with the children `IDS`; its object id and theirs."""
    folder = await add(app, "folder", "Container")
    return folder, [await add(app, id_, parent=folder) for id_ in IDS]


async def annotate(app: App, oid: str, *names: str) -> None:
    async with transaction(db=app.database) as txn:
        annotations = IAnnotations(await txn.get(oid))
        for name in names:
            await annotations.async_set(name, AnnotationData({"name": name}))


async def test_objects(app: App, loader: Loader) -> None:
    folder, children = await make_folder(app)
    for oid in (folder, *children, "0" * 32, *await root_oids(app)):
        (value,) = await loaded(loader, key(Kind.OBJECT, oid))
        if value is not ABSENT:
            assert value == dict(await uncached(app)._get(oid))
        else:
            with pytest.raises(KeyError):
                await uncached(app)._get(oid)
    assert (await loaded(loader, key(Kind.OBJECT, folder)))[0]["state"]


async def root_oids(app: App) -> list[str]:
    """Every object in the database, annotations included."""
    async with app.database.storage.pool.acquire() as connection:
        return [row["zoid"] for row in await connection.fetch("SELECT zoid FROM objects")]


@pytest.mark.parametrize("together", [True, False])
async def test_children(app: App, loader: Loader, together: bool) -> None:
    """By one statement, and by one statement per child."""
    folder, _ = await make_folder(app)
    wanted = [key(Kind.CHILD, folder, name) for name in [*reversed(IDS), "nobody", IDS[0], "", "%", "_"]]
    if together:
        values = await loaded(loader, *wanted)
    else:
        values = [value for one in wanted for value in await loaded(loader, one)]
    parent = await uncached(app).get(folder)
    for one, value in zip(wanted, values, strict=True):
        row = await uncached(app)._get_child(parent, one.name)
        assert value == (ABSENT if row is None else dict(row)), one
    assert [value is ABSENT for value in values] == [False] * 4 + [True, False] + [True] * 3


async def test_more_children_than_a_batch(app: App, loader: Loader, database: str) -> None:
    folder, (child, *_) = await make_folder(app)
    async with connected(database) as connection:
        await connection.execute(
            """
            INSERT INTO objects (zoid, tid, state_size, part, resource, of, otid, parent_id, id, type, state)
            SELECT md5(n::text), tid, state_size, part, resource, of, otid, parent_id, n::text, type, state
            FROM objects, generate_series(1, $2) n WHERE zoid = $1
            """,
            child,
            BATCH + 5,
        )
    names = [str(n) for n in range(BATCH + 7)]
    values = await loaded(loader, *(key(Kind.CHILD, folder, name) for name in names))
    assert [value if value is ABSENT else value["id"] for value in values] == [ABSENT, *names[1:-1], ABSENT]


async def test_annotations(app: App, loader: Loader) -> None:
    folder, (child, *_) = await make_folder(app)
    await annotate(app, folder, "default", "a.b", "ä ö")
    for oid in (folder, child):
        content = await uncached(app).get(oid)
        for name in ("default", "a.b", "ä ö", "nobody", "", *IDS):
            (value,) = await loaded(loader, key(Kind.ANNOTATION, oid, name))
            row = await uncached(app)._get_annotation(content, name)
            assert value == (_EMPTY if row == _EMPTY else dict(row)), (oid, name)
            assert (value == _EMPTY) is not (oid == folder and name in ("default", "a.b", "ä ö"))


async def test_lists_and_numbers(app: App, loader: Loader) -> None:
    folder, (child, *_) = await make_folder(app)
    await annotate(app, folder, "default", "a.b")
    plain = uncached(app)
    for oid in (folder, child, "0" * 32, NOBODY):
        values = await loaded(loader, *(key(kind, oid) for kind in (Kind.KEYS, Kind.LEN, Kind.ANNOTATION_KEYS)))
        assert values == [await plain.keys(oid), await plain.len(oid), await plain.get_annotation_keys(oid)]
        assert [type(value) for value in values] == [list, int, list]
    assert (await loaded(loader, key(Kind.LEN, folder))) == [len(IDS)]


async def test_all_kinds_at_once(app: App, loader: Loader) -> None:
    folder, (child, *_) = await make_folder(app)
    wanted = [
        key(Kind.CHILD, folder, "plain"),
        key(Kind.OBJECT, NOBODY),
        key(Kind.LEN, folder),
        key(Kind.CHILD, NOBODY, "plain"),
        key(Kind.ANNOTATION, folder, "nobody"),
        key(Kind.OBJECT, child),
        key(Kind.CHILD, folder, "nobody"),
    ]
    values = await loaded(loader, *wanted)
    assert [value["zoid"] if isinstance(value, dict) else value for value in values] == [
        *(child, ABSENT, len(IDS), ABSENT, _EMPTY, child, ABSENT)
    ]


def test_one_query_is_for_the_children_of_one_container_of_one_database() -> None:
    folder, other = "1" * 32, "2" * 32
    wanted = [
        *(Key(db, Kind.CHILD, oid, name) for name in "ab" for oid in (folder, other) for db in ("db", "another")),
        *(Key("db", Kind.ANNOTATION, folder, name) for name in "ab"),
    ]
    assert _grouped(dict(enumerate(wanted))) == [[0, 4], [1, 5], [2, 6], [3, 7], [8], [9]]


@pytest.mark.parametrize("over", [0, 1])
async def test_large_objects(app: App, loader: Loader, database: str, over: int) -> None:
    oid = await add(app, "large", "Container")
    async with connected(database) as connection:
        state = b"\0\xff" * (MAX_RECORD_SIZE // 2) + b"x" * over
        await connection.execute("UPDATE objects SET state = $2 WHERE zoid = $1", oid, state)
    (value,) = await loaded(loader, key(Kind.OBJECT, oid))
    assert value is TOO_LARGE if over else value["state"] == state


async def test_a_failed_load_has_no_value(app: App, loader: Loader, database: str) -> None:
    """It neither means that the object is absent nor makes the other loads fail."""
    folder, _ = await make_folder(app)
    unknown = Key("another database", Kind.OBJECT, folder, "")
    assert await loaded(loader, unknown, key(Kind.LEN, folder)) == [None, len(IDS)]
    async with connected(database) as connection:
        await connection.execute("ALTER TABLE objects RENAME TO away")
        wanted = [key(Kind.CHILD, folder, name) for name in IDS]
        wanted += one_of_each(folder)
        assert await loaded(loader, *wanted) == [None] * len(wanted)
        await connection.execute("ALTER TABLE away RENAME TO objects")
    assert await loaded(loader, key(Kind.LEN, folder)) == [len(IDS)]


#: What begins like a key of the database but is none; a peer may send it.
NO_KEYS = {
    "kind": b"?" + keys.prefix(DATABASE) + b" " + b"0" * 32,
    "cut": b"o" + keys.prefix(DATABASE) + b" 0",
    "bytes": b"o" + keys.prefix(DATABASE) + b"\xff\xfe",
    "name": b"l" + keys.prefix(DATABASE) + b"\x010and a name",
    "line": b"o" + keys.prefix(DATABASE) + b"\x7f\nERROR \x1b[2J",
    "long": b"o" + keys.prefix(DATABASE) + b"\x41" + b"0" * 100_000,
    "empty": b"",
}


async def test_what_is_no_key_does_not_harm_the_others(
    app: App, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    """It alone is refused, and a peer that sends it again and again does not fill the log."""
    folder, _ = await make_folder(app)
    wanted = [keys.encode(*key(Kind.LEN, folder)), *NO_KEYS.values(), keys.encode(*key(Kind.CHILD, folder, IDS[0]))]
    for _ in range(100):
        values = await loader.load(wanted)
        assert [value is None for value in values] == [False, *[True] * len(NO_KEYS), False]
    (line,) = [record.getMessage() for record in caplog.records if record.name == "guillotina_groupcache"]
    assert "no key" in line and line.isprintable() and len(line) < 500
    assert not any(record.exc_info for record in caplog.records)


async def test_a_database_that_was_removed(app: App, loader: Loader) -> None:
    assert DATABASE in loader
    loader.remove(DATABASE)
    loader.remove(DATABASE)
    assert DATABASE not in loader
    assert await loaded(loader, key(Kind.LEN, "0" * 32)) == [None]


async def test_loads_leave_no_connection_behind(database: str) -> None:
    async with running(database, pool_size=2) as app:
        loader = Loader()
        loader.add(app.database)
        wanted = [keys.encode(*key) for key in one_of_each("0" * 32)]
        for _ in range(3):
            await asyncio.wait_for(asyncio.gather(*(loader.load(wanted) for _ in range(20))), TIMEOUT)
        pool = app.database.storage.pool
        assert pool.get_size() == pool.get_idle_size()
