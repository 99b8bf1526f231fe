"""TCP proxies that can hold back what goes through them: `python -m tests.histories.proxy`, controlled by JSON lines.

A cut holds back bytes, and new connections too, as a network does that loses packets: what was sent arrives when the
cut is healed. It is a process of its own, so that nothing else slows the connections down, and ends with its standard
input. Each line is an operation with its arguments, `["cut", 1, 2]`, and is answered by a line with its result.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from typing import Any

from harness.local import free_port
from tests.histories.dialler import dialler
from tests.histories.network import DATABASE

_CHUNK = 64 * 1024


class Proxies:
    """The proxies, and the directions between hosts, each open or cut."""

    def __init__(self) -> None:
        self._processes: dict[int, int] = {}
        self._open: dict[tuple[int, int], asyncio.Event] = defaultdict(_opened)
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    # --- operations

    async def node(self, number: int, port: int) -> int:
        """Open a proxy to the node that listens on a port, and return the port for other nodes."""
        return await self._serve(None, number, "127.0.0.1", port)

    async def database(self, number: int, address: str, port: int) -> int:
        """Open a proxy to the database for one node, and return the port for that node."""
        return await self._serve(number, DATABASE, address, port)

    async def started(self, number: int, pid: int) -> None:
        """Learn that the node runs as this process."""
        self._processes[number] = pid

    async def cut(self, sender: int, receiver: int) -> None:
        """Hold back what one host sends to the other."""
        self._open[sender, receiver].clear()

    async def heal(self, sender: int, receiver: int) -> None:
        """Let it through."""
        self._open[sender, receiver].set()

    # --- connections

    async def _serve(self, sender: int | None, receiver: int, address: str, port: int) -> int:
        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                near = sender or dialler(writer.get_extra_info("peername")[1], chosen, self._processes)
                if near is not None:
                    there, back = self._open[near, receiver], self._open[receiver, near]
                    await _forward(reader, writer, address, port, there, back)
            except (OSError, asyncio.CancelledError):
                pass
            finally:
                self._tasks.discard(task)
                writer.transport.abort()

        chosen = free_port()
        self._servers.append(await asyncio.start_server(accepted, "127.0.0.1", chosen, limit=_CHUNK))
        return chosen

    async def close(self) -> None:
        """End all connections."""
        for server in self._servers:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _opened() -> asyncio.Event:
    way = asyncio.Event()
    way.set()
    return way


async def _forward(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    address: str,
    port: int,
    there: asyncio.Event,
    back: asyncio.Event,
) -> None:
    while not (there.is_set() and back.is_set()):  # a handshake goes both ways
        await there.wait()
        await back.wait()
    far_reader, far_writer = await asyncio.open_connection(address, port, limit=_CHUNK)
    pumps = [
        asyncio.ensure_future(_pump(reader, far_writer, there)),
        asyncio.ensure_future(_pump(far_reader, writer, back)),
    ]
    try:
        await asyncio.gather(*pumps)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        far_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: asyncio.Event) -> None:
    """Copy data while the direction is open, to its end."""
    while data := await reader.read(_CHUNK):
        await way.wait()
        writer.write(data)
        await writer.drain()
    await way.wait()
    writer.write_eof()


async def main() -> None:
    """Do the operations of the lines on standard input, until it ends."""
    proxies = Proxies()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        operation, *arguments = json.loads(line)
        result: Any = await getattr(proxies, operation)(*arguments)
        print(json.dumps(result), flush=True)
    await proxies.close()


if __name__ == "__main__":
    asyncio.run(main())
