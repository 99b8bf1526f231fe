"""A load generator in a process of its own: requests one after the other on many connections, for some seconds.

`generate` runs it. Its client does the minimum of HTTP, so that the servers get the processor time.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from harness.client import authorization
from harness.local import ROOT

_AUTHORIZATION = authorization()


class Done(NamedTuple):
    """The result of a load."""

    requests: int
    seconds: float
    failed: int  #: answers that were neither 200 nor 204
    median: float  #: milliseconds of a GET
    slowest: float  #: milliseconds of a GET, the 99th percentile


def generate(
    ports: Sequence[int], gets: Sequence[str], patches: Sequence[str], writes: float, seconds: float, connections: int
) -> Done:
    """GET random paths, PATCH instead with the share `writes`, on so many connections to each port."""
    wanted = {
        "ports": ports,
        "gets": gets,
        "patches": patches,
        "writes": writes,
        "seconds": seconds,
        "connections": connections,
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(wanted).encode(),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=True,
    )
    return Done(*json.loads(done.stdout))


class Connection(asyncio.Protocol):
    """A connection to a node, for one request at a time."""

    def __init__(self) -> None:
        self._data = b""
        self._answered: asyncio.Future[int] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(0)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head = self._data.find(b"\r\n\r\n")
        if head < 0 or self._answered is None:
            return
        # Guillotina sends every body in chunks.
        chunked = b"transfer-encoding: chunked" in self._data[:head].lower()
        if not chunked or self._data.endswith(b"\r\n0\r\n\r\n"):
            self._answered.set_result(int(self._data[9:12]))

    async def request(self, request: bytes) -> int:
        """Send a request and return the status; 0 if the connection ended."""
        self._data, self._answered = b"", asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    def body(self) -> bytes:
        """Return the last response's body, which has one chunk, without the addresses, which differ between nodes."""
        _, _, body = self._data.partition(b"\r\n\r\n")
        return re.sub(rb"//[^/]*/", b"//site/", body.split(b"\r\n")[1])


def _requests(gets: list[str], patches: list[str], writes: float, seed: int) -> Iterator[tuple[bool, bytes]]:
    chance = random.Random(seed)
    while True:
        if chance.random() < writes:
            body = json.dumps({"title": f"An item, for the {chance.randrange(10**6)}th time"}).encode()
            yield False, request_of("PATCH", chance.choice(patches), len(body)) + body
        else:
            yield True, request_of("GET", chance.choice(gets))


def request_of(method: str, path: str, length: int = 0) -> bytes:
    """Return the head of a request whose body has so many bytes."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: site\r\nAuthorization: {_AUTHORIZATION}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


async def _main(ports: list[int], connections: int, seconds: float, **mix: Any) -> Done:
    times: list[float] = []
    counts = {"requests": 0, "failed": 0}
    loop = asyncio.get_running_loop()

    async def client(port: int, seed: int) -> None:
        _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
        for is_get, request in _requests(seed=seed, **mix):
            begin = time.perf_counter()
            if begin > end:
                return
            status = await connection.request(request)
            if is_get:
                times.append(time.perf_counter() - begin)
            counts["requests"] += 1
            counts["failed"] += status not in (200, 204)
            if not status:
                return

    begin = time.perf_counter()
    end = begin + seconds
    await asyncio.gather(*(client(port, seed * 1000 + port) for port in ports for seed in range(connections)))
    times.sort()
    taken = time.perf_counter() - begin
    middle, last = times[len(times) // 2], times[len(times) * 99 // 100]
    return Done(counts["requests"], taken, counts["failed"], middle * 1000, last * 1000)


if __name__ == "__main__":
    import uvloop

    uvloop.install()
    print(json.dumps(asyncio.run(_main(**json.load(sys.stdin)))))
