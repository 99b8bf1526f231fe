"""Inside of a node: the shortest time of a request to Redis, a lower bound for any request to another process."""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from typing import Any

_PING, _PONG = b"PING\r\n", b"+PONG\r\n"


async def blocking(path: str, count: int) -> float:
    """Return the median nanoseconds of a round trip over a unix socket, without the event loop."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        taken = []
        for _ in range(count):
            begin = time.perf_counter_ns()
            connection.sendall(_PING)
            assert connection.recv(64) == _PONG
            taken.append(time.perf_counter_ns() - begin)
    return statistics.median(taken)


async def on_the_loop(path: str, count: int) -> float:
    """Return the same with the event loop, which a server needs that handles other requests meanwhile."""
    loop = asyncio.get_running_loop()
    transport, pings = await loop.create_unix_connection(_Pings, path)
    taken = []
    for _ in range(count):
        begin = time.perf_counter_ns()
        pings.answered = loop.create_future()
        transport.write(_PING)
        await pings.answered
        taken.append(time.perf_counter_ns() - begin)
    transport.close()
    return statistics.median(taken)


class _Pings(asyncio.Protocol):
    answered: asyncio.Future[Any]

    def data_received(self, data: bytes) -> None:
        self.answered.set_result(data)
