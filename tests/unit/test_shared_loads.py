"""Loads of keys in doubt are shared correctly (R4), whether a task begins later or while it is created."""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from typing import Any

import pytest

from guillotina_groupcache import keys
from guillotina_groupcache.database.loader import SharedLoads
from guillotina_groupcache.interfaces import GroupcacheError
from guillotina_groupcache.keys import Key, Kind
from tests.unit.life_app import DATABASE, TIMEOUT
from tests.unit.life_tasks import begun_at_once


@pytest.fixture(params=["later", "at once"], autouse=True)
def tasks_begin(request: pytest.FixtureRequest, event_loop: asyncio.AbstractEventLoop) -> None:
    at_once = getattr(asyncio, "eager_task_factory", begun_at_once)
    event_loop.set_task_factory(at_once if request.param == "at once" else None)


class Gate:
    """Loads that wait until the test lets them end."""

    def __init__(self) -> None:
        self.begun: list[Key] = []
        self.ends: list[asyncio.Future[Any]] = []
        self.shared = SharedLoads(self._load)

    async def _load(self, key: Key) -> Any:
        self.begun.append(key)
        self.ends.append(asyncio.get_running_loop().create_future())
        return await self.ends[-1]

    def get(self, name: str = "x") -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.shared.get(child_key(name)))

    async def wait_begun(self, count: int) -> None:
        async def begun() -> None:
            while len(self.begun) < count:
                await asyncio.sleep(0)

        await asyncio.wait_for(begun(), TIMEOUT)
        await settle_down()
        assert len(self.begun) == count


def child_key(name: str) -> bytes:
    return keys.encode(DATABASE, Kind.CHILD, "0" * 32, name)


async def settle_down() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def answer(reader: asyncio.Task[Any]) -> Any:
    return await asyncio.wait_for(reader, TIMEOUT)


async def nothing_is_left(shared: SharedLoads) -> None:
    await settle_down()
    assert not (shared._next or shared._running or shared._tasks)


async def test_a_reader_that_comes_while_a_load_runs_waits_for_the_next() -> None:
    gate = Gate()
    first = gate.get()
    await gate.wait_begun(1)
    second = [gate.get() for _ in range(100)]
    await settle_down()
    assert len(gate.begun) == 1
    gate.ends[0].set_result("old")
    assert await answer(first) == "old"
    await gate.wait_begun(2)
    third = gate.get()
    await settle_down()
    gate.ends[1].set_result("new")
    assert {await answer(reader) for reader in second} == {"new"}
    await gate.wait_begun(3)
    gate.ends[2].set_result("newest")
    assert await answer(third) == "newest"
    await nothing_is_left(gate.shared)


class RandomLoads:
    """Loads that give their numbers, of which some end at once and every third fails."""

    def __init__(self, chance: random.Random) -> None:
        self.shared = SharedLoads(self._load)
        self._chance = chance
        self._begun: Counter[str] = Counter()
        self._running: dict[str, asyncio.Future[int]] = {}

    async def _load(self, key: Key) -> int:
        assert key.name not in self._running
        number = self._begun[key.name]
        self._begun[key.name] += 1
        try:
            if self._chance.random() < 0.5:  # else it has ended before anybody waits for it
                self._running[key.name] = asyncio.get_running_loop().create_future()
                await self._running[key.name]
        finally:
            self._running.pop(key.name, None)
        if number % 3 == 2:
            raise OSError(number)
        return number

    async def read(self, name: str) -> tuple[int, int]:
        """The numbers that a read must give, and that it has given."""
        expected = self._begun[name]
        try:
            return expected, await self.shared.get(child_key(name))
        except OSError as error:
            return expected, error.args[0]

    def end_one(self) -> None:
        """End one of the loads that run."""
        if waiting := [end for end in self._running.values() if not end.done()]:
            self._chance.choice(waiting).set_result(0)


@pytest.mark.parametrize("seed", range(20))
async def test_every_reader_gets_the_first_load_that_begins_after_it_asked(seed: int) -> None:
    """And two loads of a key never run at once, whatever comes when."""
    chance = random.Random(seed)
    loads = RandomLoads(chance)
    readers = []
    for _ in range(300):
        step = chance.choice(["ask", "end", "go on"])
        if step == "ask":
            readers.append(asyncio.ensure_future(loads.read(chance.choice("abc"))))
        elif step == "end":
            loads.end_one()
        else:
            await asyncio.sleep(0)
    for _ in range(1000):
        loads.end_one()
        await asyncio.sleep(0)
    found = [await answer(reader) for reader in readers]
    assert [got for _, got in found] == [expected for expected, _ in found]
    await nothing_is_left(loads.shared)


async def test_a_load_that_ends_at_once() -> None:
    """Such as one that fails before it reads from the database."""

    async def load(key: Key) -> Any:
        if key.name == "fails":
            raise LookupError(key.name)
        return key.name

    shared = SharedLoads(load)
    for _ in range(3):
        assert await shared.get(child_key("x")) == "x"
        with pytest.raises(LookupError):
            await shared.get(child_key("fails"))
    assert await asyncio.gather(*(shared.get(child_key("x")) for _ in range(10))) == ["x"] * 10
    await nothing_is_left(shared)


async def test_keys_do_not_wait_for_each_other() -> None:
    gate = Gate()
    one, other = gate.get("one"), gate.get("other")
    await gate.wait_begun(2)
    assert [key.name for key in gate.begun] == ["one", "other"]
    gate.ends[1].set_result(2)
    assert await answer(other) == 2
    gate.ends[0].set_result(1)
    assert await answer(one) == 1


async def test_a_reader_that_gives_up_leaves_the_load_to_the_others() -> None:
    gate = Gate()
    one = gate.get()
    await gate.wait_begun(1)
    early, late, last = gate.get(), gate.get(), gate.get()
    await settle_down()
    for reader in (one, early):
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    gate.ends[0].set_result("value")
    await gate.wait_begun(2)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    gate.ends[1].set_result("next")
    assert await answer(last) == "next"
    await nothing_is_left(gate.shared)


async def test_an_error_is_for_all_readers_of_the_load_and_for_no_other() -> None:
    gate = Gate()
    first = gate.get()
    await gate.wait_begun(1)
    readers = [gate.get(), gate.get()]
    await settle_down()
    gate.ends[0].set_result("value")
    await gate.wait_begun(2)
    last = gate.get()
    await settle_down()
    gate.ends[1].set_exception(OSError("the database is away"))
    for reader in readers:
        with pytest.raises(OSError):
            await answer(reader)
    await gate.wait_begun(3)
    gate.ends[2].set_result("next")
    assert (await answer(first), await answer(last)) == ("value", "next")


async def test_cancel_ends_what_runs_and_what_waits() -> None:
    gate = Gate()
    readers = [gate.get(), gate.get("other")]
    await gate.wait_begun(2)
    readers.append(gate.get())
    await settle_down()
    tasks = gate.shared.cancel()
    assert len(tasks) == 3
    await asyncio.wait_for(asyncio.wait(tasks), TIMEOUT)
    for reader in readers:
        with pytest.raises(GroupcacheError):
            await answer(reader)
    assert len(gate.begun) == 2
    await nothing_is_left(gate.shared)


async def test_cancel_before_a_load_has_begun() -> None:
    gate = Gate()
    reader = gate.get()
    while not gate.shared._tasks:
        await asyncio.sleep(0)
    gate.shared.cancel()
    with pytest.raises(GroupcacheError):
        await answer(reader)
    await nothing_is_left(gate.shared)
    begun = len(gate.begun)
    reader = gate.get()
    await gate.wait_begun(begun + 1)
    gate.ends[-1].set_result("value")
    assert await answer(reader) == "value"


async def test_a_load_that_hangs_delays_the_next_one_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guillotina_groupcache.database.loader.TURN_TIMEOUT", 0.01)
    gate = Gate()
    first = gate.get()
    await gate.wait_begun(1)
    second = gate.get()
    await gate.wait_begun(2)
    gate.ends[1].set_result("new")
    assert await answer(second) == "new"
    gate.ends[0].set_result("late")
    assert await answer(first) == "late"
    await nothing_is_left(gate.shared)


async def test_a_reader_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guillotina_groupcache.database.loader.LOAD_TIMEOUT", 0.01)
    gate = Gate()
    reader = gate.get()
    await gate.wait_begun(1)
    with pytest.raises(GroupcacheError, match="has taken more than"):
        await answer(reader)
    gate.ends[0].set_result("late")
    await nothing_is_left(gate.shared)


async def test_an_error_for_which_no_reader_waits_is_not_logged() -> None:
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    gate = Gate()
    reader = gate.get()
    await gate.wait_begun(1)
    reader.cancel()
    await asyncio.wait([reader], timeout=TIMEOUT)
    gate.ends.pop().set_exception(OSError("the database is away"))
    await nothing_is_left(gate.shared)
    del reader  # what it was cancelled in knows the load's future
    gc.collect()
    await settle_down()
    assert said == []
