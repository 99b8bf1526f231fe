"""The event of a transaction holds every key whose value differs before and after (R11), whatever was done."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import asyncpg
import pytest
from guillotina._settings import app_settings
from guillotina.component import provide_adapter
from guillotina.db.interfaces import IJSONDBSerializer
from guillotina.interfaces import IResource
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.postgres import PostgresServer
from tests.unit import event_operations as do
from tests.unit.event_operations import GIVEN, NAMES, TYPES, Of, Operation, World
from tests.unit.event_oracle import Oracle
from tests.unit.life_app import TIMEOUT, running

#: Examples of a run; the default is the same ones each time.
EXAMPLES = int(os.environ.get("ORACLE_EXAMPLES", "0"))
Step = do.Transaction | do.Vacuum | do.DbVacuum

_name = st.sampled_from(NAMES)
_number = st.integers(0, 5)
_optional = st.none() | _number
_of = st.builds(Of, st.integers(0, 4), st.sampled_from(("uid", "bare", "child", "held")))
_given = st.sampled_from(GIVEN)
_type = st.sampled_from(TYPES)
_operation: st.SearchStrategy[Operation] = st.one_of(
    st.builds(do.Create, _number, _name, _type, st.none() | _given | st.integers(0, 4)),
    st.builds(do.Create, _number, _name),
    st.builds(do.Install, _name),
    st.builds(do.RegisterAs, _number, _name, _given, st.booleans()),
    st.builds(do.Read, _of),
    st.builds(do.Modify, _of, st.integers(1, 2)),
    st.builds(do.Share, _number),
    st.builds(do.Retype, _of, _type),
    st.builds(do.Move, _of, _optional, st.none() | _name),
    st.builds(
        do.Place,
        _of,
        _optional,
        _optional,
        st.none() | _name,
        st.none() | _given,
        st.sampled_from(("", "", "", "__parent__", "__of__")),
    ),
    st.builds(do.Duplicate, _of, _optional, _name),
    st.builds(do.Delete, _of, st.booleans()),
    st.builds(do.Annotate, _number, _name, _optional, st.none() | _of),
    st.builds(do.ChangeAnnotation, _number, _name, st.sampled_from(("register", "set", "delete")), _name),
    st.builds(do.Blob, _given),
    st.builds(do.Peek),
    st.builds(do.Begin),
)
_end = st.sampled_from(("commit", "commit", "commit", "commit", "abort", "raise"))
_other = st.builds(
    do.Transaction, st.lists(_operation, min_size=1, max_size=2).map(tuple), _end, st.sampled_from((False, False, True))
)
_transaction = st.builds(
    do.Transaction,
    st.lists(st.one_of(_operation, _operation, _operation, _operation, _other), min_size=1, max_size=4).map(tuple),
    _end,
)
_step: st.SearchStrategy[Step] = st.one_of(
    *[_transaction] * 6, st.builds(do.Vacuum, st.integers(0, 2)), st.just(do.DbVacuum())
)


class Runner:
    """Guillotina in a thread of its own, as hypothesis waits for nothing: its loop must run on while that thinks."""

    def __init__(self, dsn: str) -> None:
        self.did: Counter[str] = Counter()
        self._dsn = dsn
        self._oracle: Oracle
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Event
        self._world: World | None = None
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    @property
    def counts(self) -> Counter[str]:
        return self._oracle.counts

    def __enter__(self) -> Runner:
        self._thread.start()
        self._ready.result(TIMEOUT)
        return self

    def __exit__(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _serve(self) -> None:
        try:
            self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
            connection = await asyncpg.connect(self._dsn, timeout=TIMEOUT)
            async with running(self._dsn) as app:
                self._oracle = Oracle(app, connection)
                app_settings["store_json"] = True
                provide_adapter(self._serializer, adapts=(IResource,), provides=IJSONDBSerializer)
                self._ready.set_result(None)
                await self._ended.wait()
            await connection.close()
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    def _serializer(self, ob: Any) -> Any:
        async def serialize() -> dict[str, Any]:
            if self._world is not None:
                await do.peek(self._world, ob)
            return {}

        return serialize

    def call(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in Guillotina's thread."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10 * TIMEOUT)

    def check(self, *steps: Operation) -> World:
        """Do these steps, and ask the oracle after each; what they have met."""
        world = World(self._oracle.app)
        self.call(self._check(world, steps))
        return world

    async def _check(self, world: World, steps: Sequence[Operation]) -> None:
        oracle = self._oracle
        self._world = world
        do.settings(world)
        await oracle.reset()
        before = await oracle.load(world)
        assert not await oracle.misread(before)
        for number, step in enumerate(steps):
            await world.do(step)
            after = await oracle.load(world)
            faults = oracle.unannounced(before, after)
            oracle.forget()
            faults += await oracle.misread(after)
            assert not faults, "\n".join([f"step {number}, {step}:", *faults])
            before = after
        self.did.update(world.did)


@pytest.fixture(scope="module")
def runner(postgres: PostgresServer) -> Iterator[Runner]:
    name = f"groupcache_oracle_{os.getpid()}"
    try:
        with Runner(postgres.create_database(name)) as runner:
            yield runner
    finally:
        postgres.drop_database(name)


@settings(
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(_step, min_size=1, max_size=8))
def test_every_change_is_announced(runner: Runner, steps: list[Step]) -> None:
    note(f"steps: {steps}")
    runner.check(*steps)
