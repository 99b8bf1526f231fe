"""What Python waits for from the library: answers to requests, and events that are cleared."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from guillotina_groupcache.interfaces import GroupcacheError


class Requests:
    """Futures by number: the number of a request is given out here, that of an event by the library."""

    __slots__ = ("_loop", "_numbers", "_waiting")

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None  # known after the first `expect`

    def number(self) -> int:
        """A new request's number, for `expect`."""
        return next(self._numbers)

    def new(self) -> tuple[int, asyncio.Future[Any]]:
        """A new request's number, and the future of its answer."""
        number = self.number()
        return number, self.expect(number)

    def expect(self, number: int) -> asyncio.Future[Any]:
        """The future of the answer with this number. A caller that stops waiting for it calls `forget`."""
        loop = self._loop
        if loop is None:  # get_running_loop at every request would cost a system call
            loop = self._loop = asyncio.get_running_loop()
        waiter = self._waiting[number] = loop.create_future()
        return waiter

    def answer(self, number: int, value: Any) -> None:
        """Give a waiter its answer, unless it has stopped waiting."""
        waiter = self._waiting.pop(number, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(value)

    def forget(self, number: int) -> None:
        """Drop the answer with this number when it comes."""
        self._waiting.pop(number, None)

    def end(self) -> None:
        """Fail all waiters, as no answer comes any more, and forget their event loop."""
        self._loop = None
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(GroupcacheError("the cache has ended"))
        self._waiting.clear()
