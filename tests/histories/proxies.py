"""Connections through TCP proxies of this process, which can hold them up: for where there are no namespaces.

Every node advertises the address of a proxy in place of its own, and reaches the database through another. A cut
holds bytes back, and new connections too, as a network does that loses packets: what was sent arrives when it is
healed.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import Any, TypeVar

import psutil

from demo.cluster import free_port
from tests.histories.network import DATABASE, Host, Network
from tests.histories.server import DurablePostgres
from tests.postgres import DSN_VARIABLE, PostgresServer, running_postgres

_CHUNK = 64 * 1024
_TIMEOUT = 30.0

T = TypeVar("T")


class _ProxyHost(Host):
    def __init__(self, number: int, postgres: PostgresServer) -> None:
        self.number = number
        self.pid: int | None = None
        self.address, self.advertised = free_port(), 0
        self.database = 0
        self._postgres = postgres

    @property
    def groupcache(self) -> dict[str, str]:
        return {"listen": f"127.0.0.1:{self.address}", "advertise": f"127.0.0.1:{self.advertised}"}

    def dsn(self, database: str) -> str:
        server = self._postgres
        return PostgresServer("127.0.0.1", self.database, server.user, server.password).dsn(database)

    def entered(self) -> AbstractContextManager[None]:
        return nullcontext()

    def started(self, pid: int) -> None:
        self.pid = pid


class ProxyNetwork(Network):
    """All nodes on this host's loopback, with proxies in between."""

    def __init__(self, size: int, reason: str) -> None:
        """`reason` says why there are no namespaces."""
        self._ends = ExitStack()
        try:
            # A server that was brought is used; Docker's would need to be restarted in another way.
            server = running_postgres() if DSN_VARIABLE in os.environ else DurablePostgres()
            self.postgres = self._ends.enter_context(server)
            self.hosts: list[Host] = []
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever)
            self._thread.start()
            self._ends.callback(self._end_loop)
            self._tasks: set[asyncio.Task[None]] = set()
            self._open: dict[tuple[int, int], asyncio.Event] = {}
            self._nodes = [self._call(self._made(number)) for number in range(1, size + 1)]
            self.hosts.extend(self._nodes)
        except BaseException:
            self._ends.close()
            raise
        self.left_out = f"no network namespaces: {reason}; connections go through proxies"
        if self.restartable is None:
            self.left_out += ", and the database server is not restarted, as it is not ours"

    # --- the network

    def cut(self, sender: int, receiver: int) -> None:
        self._loop.call_soon_threadsafe(self._way(sender, receiver).clear)

    def heal(self, sender: int, receiver: int) -> None:
        self._loop.call_soon_threadsafe(self._way(sender, receiver).set)

    def database_entered(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        self._ends.close()

    def _way(self, sender: int, receiver: int) -> asyncio.Event:
        if (sender, receiver) not in self._open:
            way = self._open[sender, receiver] = asyncio.Event()
            way.set()
        return self._open[sender, receiver]

    # --- the loop's thread

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_TIMEOUT)

    def _end_loop(self) -> None:
        self._call(self._cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _made(self, number: int) -> _ProxyHost:
        host = _ProxyHost(number, self.postgres)
        host.advertised = await self._serve(lambda peer: self._dialler(peer), number, "127.0.0.1", host.address)
        host.database = await self._serve(lambda _: number, DATABASE, self.postgres.host, self.postgres.port)
        return host

    async def _serve(self, who: Callable[[int], int | None], receiver: int, address: str, port: int) -> int:
        """Listen for connections to `receiver`, which is at `address`; `who` tells a connection's sender by its port."""

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                sender = who(writer.get_extra_info("peername")[1])
                if sender is not None:
                    await self._forward(reader, writer, sender, receiver, address, port)
            except (OSError, asyncio.CancelledError):
                pass
            finally:
                self._tasks.discard(task)
                writer.transport.abort()

        chosen = free_port()
        server = await asyncio.start_server(accepted, "127.0.0.1", chosen, limit=_CHUNK)
        self._ends.callback(self._loop.call_soon_threadsafe, server.close)
        return chosen

    def _dialler(self, port: int) -> int | None:
        """The node that has made a connection from this port: all have the address 127.0.0.1."""
        for host in self._nodes:
            with suppress(psutil.Error):
                if host.pid is not None and any(
                    connection.laddr.port == port for connection in psutil.Process(host.pid).net_connections("tcp4")
                ):
                    return host.number
        return None

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        sender: int,
        receiver: int,
        address: str,
        port: int,
    ) -> None:
        there, back = self._way(sender, receiver), self._way(receiver, sender)
        while not (there.is_set() and back.is_set()):  # a handshake goes both ways
            await there.wait()
            await back.wait()
        far_reader, far_writer = await asyncio.open_connection(address, port, limit=_CHUNK)
        try:
            ways = [
                asyncio.ensure_future(_pump(reader, far_writer, there)),
                asyncio.ensure_future(_pump(far_reader, writer, back)),
            ]
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            far_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: asyncio.Event) -> None:
    """Pass on what comes, while the way is open, to its end."""
    while data := await reader.read(_CHUNK):
        await way.wait()
        writer.write(data)
        await writer.drain()
    await way.wait()
    writer.write_eof()
