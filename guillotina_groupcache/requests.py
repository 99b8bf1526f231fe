"""What Python waits for from the library: answers to requests, and events that may be committed."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from guillotina_groupcache.interfaces import GroupcacheError


class Requests:
    """Futures by number: of a request, which takes a new one here, or of an event, which the library counts."""

    __slots__ = ("_loop", "_numbers", "_waiting")

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None  # known once somebody waits

    def number(self) -> int:
        """A new request's number, for `expect`."""
        return next(self._numbers)

    def ask(self) -> tuple[int, asyncio.Future[Any]]:
        """A new request's number, and the future of its answer."""
        number = self.number()
        return number, self.expect(number)

    def expect(self, number: int) -> asyncio.Future[Any]:
        """The future of the answer with this number. Who no longer waits for it calls `forget`."""
        loop = self._loop
        if loop is None:  # to ask at each request costs a system call
            loop = self._loop = asyncio.get_running_loop()
        waiter = self._waiting[number] = loop.create_future()
        return waiter

    def answer(self, number: int, value: Any) -> None:
        """Give who waits its answer, unless it has given up."""
        waiter = self._waiting.pop(number, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(value)

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        self._waiting.pop(number, None)

    def end(self) -> None:
        """Tell everyone who waits that there will be no answer, and forget the loop on which they do."""
        self._loop = None
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(GroupcacheError("the cache has ended"))
        self._waiting.clear()
