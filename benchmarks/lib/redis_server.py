"""A Redis server on loopback and on a unix socket, from Debian's package; it ends with its block."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from harness.local import free_port, wait_for

STOP_SECONDS = 10.0


@dataclass(frozen=True)
class RedisServer:
    """The addresses and the process of a running server."""

    port: int
    socket: Path
    pid: int

    def clear(self) -> None:
        """Delete everything."""
        with redis.Redis(port=self.port) as client:
            client.flushall()

    def subscribers(self, channel: str) -> int:
        """Return the number of subscribers of a channel."""
        with redis.Redis(port=self.port) as client:
            ((_, count),) = client.pubsub_numsub(channel)
            return int(count)


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Give an empty server that keeps nothing on disk. Exits with one line if redis-server is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("benchmarks: there is no redis-server: apt-get install redis-server")
    folder = Path(tempfile.mkdtemp(prefix="groupcache-redis-"))
    port, path = free_port(), folder / "socket"
    process = subprocess.Popen(
        [
            *(program, "--bind", "127.0.0.1", "--port", str(port), "--unixsocket", str(path)),
            *("--dir", str(folder), "--save", "", "--appendonly", "no"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    server = RedisServer(port, path, process.pid)
    try:
        wait_for(lambda: _answers(server, process), "Redis to answer")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(server: RedisServer, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"redis-server ended with status {process.returncode}")
    try:
        with redis.Redis(port=server.port) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False
