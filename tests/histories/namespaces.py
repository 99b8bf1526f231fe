"""Hosts in network namespaces of this process, on one bridge, between which packets can be lost.

A namespace gets no name on the machine: it exists as long as this process holds it open or a process runs in it, so
nothing remains, however the owner ends. This needs root, Linux and `ip` of iproute2.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager

from tests.histories.network import DATABASE, Host, Network, NetworkError
from tests.histories.server import NetworkPostgres

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"
#: No host on the bridge has this hardware address.
_NOWHERE = "02:00:00:00:ff:ff"

_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace. Processes started and sockets made while it is entered are in it."""

    def __init__(self) -> None:
        # In a thread of its own, which ends at once: every other thread must stay in its namespace.
        self._file = -1
        self._error = 0
        thread = threading.Thread(target=self._make)
        thread.start()
        thread.join()
        if self._error:
            raise NetworkError(f"a network namespace cannot be made: {os.strerror(self._error)}")

    def _make(self) -> None:
        if _libc.unshare(_CLONE_NEWNET):
            self._error = ctypes.get_errno()
        else:
            self._file = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def path(self) -> str:
        """A path by which `ip` finds the namespace."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread, and no other, into the namespace. Nothing may be awaited meanwhile."""
        before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set(self._file)
            try:
                yield
            finally:
                _set(before)
        finally:
            os.close(before)

    def ip(self, *arguments: str) -> None:
        """Run `ip` in the namespace. Raises `NetworkError` with its output where it fails."""
        with self.entered():
            done = subprocess.run(["ip", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise NetworkError(f"ip {' '.join(arguments)}: {done.stdout.strip()}")

    def close(self) -> None:
        """Release it."""
        os.close(self._file)


def _set(file: int) -> None:
    if _libc.setns(file, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class _NamespaceHost(Host):
    def __init__(self, number: int, namespace: Namespace, postgres: NetworkPostgres) -> None:
        self.number = number
        self._namespace, self._postgres = namespace, postgres

    @property
    def groupcache(self) -> dict[str, str]:
        return {"listen": f"{_address(self.number)}:9000"}

    def dsn(self, database: str) -> str:
        return self._postgres.dsn(database, _address(DATABASE))

    def entered(self) -> AbstractContextManager[None]:
        return self._namespace.entered()

    def started(self, pid: int) -> None:
        """Do nothing: what the process sends comes from its namespace."""


class NamespaceNetwork(Network):
    """A network with a host of its own for every node, and PostgreSQL on the bridge."""

    left_out = ""

    def __init__(self, size: int) -> None:
        """Raise `NetworkError` where a privilege or a program is missing."""
        if shutil.which("ip") is None:
            raise NetworkError("there is no `ip` (Debian: apt-get install iproute2)")
        self._ends = ExitStack()
        try:
            self._make(size)
        except BaseException:
            self._ends.close()
            raise

    def _make(self, size: int) -> None:
        self._hub = self._ends.enter_context(closing(Namespace()))
        self._hub.ip("link", "set", "lo", "up")
        self._hub.ip("link", "add", "hub", "type", "bridge")
        self._hub.ip("link", "set", "hub", "address", _hardware(DATABASE), "up")
        self._hub.ip("address", "add", f"{_address(DATABASE)}/24", "dev", "hub")
        self._namespaces = {DATABASE: self._hub}
        for number in range(1, size + 1):
            self._namespaces[number] = self._connected(number)
        for sender in self._namespaces:
            for receiver in self._namespaces.keys() - {sender}:
                self.heal(sender, receiver)
        with self._hub.entered():
            postgres = NetworkPostgres()
        self._ends.callback(postgres.close)
        self.postgres = postgres
        self.hosts = [
            _NamespaceHost(number, namespace, postgres)
            for number, namespace in self._namespaces.items()
            if number != DATABASE
        ]

    def _connected(self, number: int) -> Namespace:
        host, port = self._ends.enter_context(closing(Namespace())), f"port{number}"
        self._hub.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.path)
        self._hub.ip("link", "set", port, "master", "hub", "up")
        host.ip("link", "set", "lo", "up")
        host.ip("link", "set", "eth0", "address", _hardware(number), "up")
        host.ip("address", "add", f"{_address(number)}/24", "dev", "eth0")
        return host

    def cut(self, sender: int, receiver: int) -> None:
        # Packets to an unused hardware address are lost silently, as in a network that is cut. A `blackhole` route
        # would return an error to the sender, which a cut network never does.
        self._neighbour(sender, receiver, _NOWHERE)

    def heal(self, sender: int, receiver: int) -> None:
        self._neighbour(sender, receiver, _hardware(receiver))

    def _neighbour(self, sender: int, receiver: int, hardware: str) -> None:
        device = "hub" if sender == DATABASE else "eth0"
        self._namespaces[sender].ip(
            *("neighbour", "replace", _address(receiver), "lladdr", hardware, "nud", "permanent", "dev", device)
        )

    def database_entered(self) -> AbstractContextManager[None]:
        return self._hub.entered()

    def close(self) -> None:
        self._ends.close()


def _address(number: int) -> str:
    return f"10.99.0.{number + 1}"


def _hardware(number: int) -> str:
    return f"02:00:00:00:00:{number + 1:02x}"
