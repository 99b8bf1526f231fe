"""A process on a host, instead of a node: `python -m tests.histories.talker NUMBER LISTEN`.

It sends its number again and again over every connection and counts the numbers that it receives. Each line on standard
input is an operation in JSON, and is answered by a line: `["dial", "127.0.0.1:9000"]`, `["heard"]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

EVERY = 0.02


class Talker:
    """One end of some connections."""

    def __init__(self, number: int) -> None:
        self.heard: Counter[int] = Counter()
        self._number = number
        self._tasks: set[asyncio.Task[None]] = set()

    def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send and receive over a connection, until it ends."""
        for work in self._listen(reader), self._speak(writer):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while byte := await reader.read(1):
            self.heard[byte[0]] += 1

    async def _speak(self, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes([self._number]))
            await writer.drain()
            await asyncio.sleep(EVERY)


def split(address: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = address.rpartition(":")
    return host, int(port)


async def main() -> None:
    """Do the operations of the lines on standard input, until it ends."""
    number, listen = sys.argv[1:]
    talker = Talker(int(number))
    await asyncio.start_server(talker.talk, *split(listen))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print(json.dumps("listens"), flush=True)
    while line := await lines.readline():
        operation, *arguments = json.loads(line)
        if operation == "dial":
            talker.talk(*await asyncio.open_connection(*split(*arguments)))
        print(json.dumps(talker.heard), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
