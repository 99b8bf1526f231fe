"""Tasks that begin while they are created, on every Python."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any


def begun_at_once(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **named: Any) -> Any:
    """A task factory that orders steps as `asyncio.eager_task_factory` of Python 3.12 does.

    Unlike there, `asyncio.current_task()` is the creator's in the first step.
    """
    if not loop.is_running():
        return asyncio.Task(coro, loop=loop, **named)
    ended = loop.create_future()
    try:
        awaited = coro.send(None)
    except StopIteration as end:
        ended.set_result(end.value)
    except Exception as error:
        ended.set_exception(error)
    else:
        return asyncio.Task(_rest(coro, awaited), loop=loop, **named)
    return ended


async def _rest(coro: Coroutine[Any, Any, Any], awaited: Any) -> Any:
    return await _steps(coro, awaited)


@types.coroutine
def _steps(coro: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
    """The steps of a coroutine after its first one, which has ended with something awaited."""
    try:
        while True:
            try:
                sent = yield awaited
            except BaseException as error:
                awaited = coro.throw(error)
            else:
                awaited = coro.send(sent)
    except StopIteration as end:
        return end.value
