"""Finds the process behind a connection on the loopback interface, where all ends have one address."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress

# Linux's uapi/linux/{netlink,sock_diag,inet_diag}.h. Unlike /proc/net/tcp it is quick with thousands of sockets.
_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = 1
_ALL_STATES = 0xFFF
_ANY_COOKIE = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_INET_DIAG = struct.Struct("=BBBxI")
_SOCKET_ID = struct.Struct("!HH4s12x4s12x")
_INTERFACE = struct.Struct("=III")
_INODE = struct.Struct("=68xI")
_LOOPBACK = socket.inet_aton("127.0.0.1")


def dialler(port: int, server: int, processes: Mapping[int, int]) -> int | None:
    """Return the number of the process, in `processes`, that has connected from a port to a server's port."""
    inode = _inode(port, server)
    for number, pid in processes.items():
        # A process that has ended has no descriptors any more.
        with suppress(OSError):
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if os.readlink(descriptor.path) == f"socket:[{inode}]":
                        return number
    return None


def _inode(port: int, server: int) -> int:
    """Return the inode of the socket at the dialling end. Raises `OSError` where there is no such connection."""
    request = (
        _INET_DIAG.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, _ALL_STATES)
        + _SOCKET_ID.pack(port, server, _LOOPBACK, _LOOPBACK)
        + _INTERFACE.pack(0, _ANY_COOKIE, _ANY_COOKIE)
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST, 0, 0) + request)
        answer = kernel.recv(4096)
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        raise ConnectionError(f"there is no connection from port {port} to {server}")
    inode: int = _INODE.unpack_from(answer, _HEADER.size)[0]
    return inode
