"""HTTP clients of nodes, for one event loop, which report what is known of a request's outcome."""

from __future__ import annotations

import asyncio
import socket
import time
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp

from harness.client import authorization
from tests.histories.history import Outcome
from tests.histories.site import SiteNode

#: Seconds until an answer counts as missing: longer than every fault lasts.
TIMEOUT = 60.0


class Answer(NamedTuple):
    """The outcome of a request, and its times."""

    begin: int  #: nanoseconds of the monotonic clock
    end: int
    outcome: Outcome
    status: int  #: 0 where no answer came
    content: Any  #: from JSON, of an answer 200
    error: str


class Client:
    """Requests to one node as root. Each has a connection of its own, made on the node's host.

    A connection that is used again may be closed by the server at that moment, which is no fault.
    """

    def __init__(self, node: SiteNode) -> None:
        self._node = node

    async def __aenter__(self) -> Client:
        connector = aiohttp.TCPConnector(limit=0, force_close=True, socket_factory=self._socket)
        self._session = aiohttp.ClientSession(
            f"http://127.0.0.1:{self._node.port}",
            connector=connector,
            headers={"Authorization": authorization()},
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    def _socket(self, address: Any) -> socket.socket:
        with self._node.host.entered():
            return socket.socket(*address[:3])

    async def request(self, method: str, path: str, content: Any = None) -> Answer:
        """Send a request and return its outcome, also where it fails."""
        begin = time.monotonic_ns()
        status, found = 0, None
        try:
            async with self._session.request(method, path, json=content) as answer:
                status = answer.status
                if status == 200:
                    found = await answer.json()
                    outcome, error = Outcome.OK, ""
                else:
                    outcome, error = _of_status(status, await answer.text())
        except aiohttp.ClientConnectorError as problem:
            # There was no connection, so nothing was sent.
            outcome, error = Outcome.FAILED, f"no connection: {problem.os_error.strerror}"
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as problem:
            outcome, error = Outcome.UNKNOWN, f"no answer: {type(problem).__name__}"
        return Answer(begin, time.monotonic_ns(), outcome, status, found, error)


def _of_status(status: int, body: str) -> tuple[Outcome, str]:
    if status < 300:
        return Outcome.OK, ""
    error = f"{status} {body[:300]}"
    # Guillotina answers 4xx before it commits anything, or when PostgreSQL has refused it. A later failure, such as a
    # lost answer to COMMIT, is a 500.
    return (Outcome.FAILED if status < 500 else Outcome.UNKNOWN), error
