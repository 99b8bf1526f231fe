"""Guillotina for the examples of hypothesis: one for all of them, and its loop runs on between them."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any

from guillotina._settings import app_settings
from guillotina.component import provide_adapter
from guillotina.db.interfaces import IJSONDBSerializer
from guillotina.interfaces import IResource

from guillotina_groupcache.keys import Key, Kind
from tests.unit.event_oracle import Oracle
from tests.unit.event_universe import Operation, World, peek
from tests.unit.life_app import DATABASE, TIMEOUT, running
from tests.unit.life_database import connected


class Runner:
    """Guillotina in a thread of its own: its event loop must run while hypothesis, which is synchronous, works."""

    def __init__(self, dsn: str) -> None:
        self.did: Counter[str] = Counter()
        self._dsn = dsn
        self._oracle: Oracle
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Event
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
        self._thread.join(TIMEOUT)

    async def _serve(self) -> None:
        kept: dict[str, Any] = {}
        try:
            self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
            async with connected(self._dsn) as connection, running(self._dsn) as app:
                self._oracle = Oracle(app, connection)
                kept = {name: app_settings[name] for name in ("store_json", "uid_generator")}
                app_settings["store_json"] = True
                provide_adapter(self._serializer, adapts=(IResource,), provides=IJSONDBSerializer)
                self._ready.set_result(None)
                await self._ended.wait()
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        finally:
            app_settings.update(kept)

    def _serializer(self, ob: Any) -> Any:
        async def serialize() -> dict[str, Any]:
            if self._oracle.world is not None:
                await peek(self._oracle.world, ob)
            return {}

        return serialize

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something in Guillotina's thread."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(TIMEOUT)
        finally:
            future.cancel()

    def check(self, *steps: Operation) -> World:
        """Do these steps, and ask the oracle after each commit; return the errors that they have met."""
        return self.do(self._oracle.check, steps)

    def perform(self, *steps: Operation) -> World:
        """Do these steps without the oracle, with every key in the cache before each."""
        return self.do(self._oracle.warm, steps)

    def do(self, committed: Callable[[World, Operation], Awaitable[None]], steps: Sequence[Operation]) -> World:
        world = World(self._oracle.app, committed)

        async def work() -> None:
            await self._oracle.begin(world)
            for step in steps:
                await world.do(step)

        self.call(work())
        self.did += world.did
        return world

    def read(self, kind: Kind, oid: str, name: str = "") -> Any:
        """The value of a key, from the cache."""
        return self.call(self._oracle.read(Key(DATABASE, kind, oid, name)))
