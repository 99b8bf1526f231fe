"""Addresses of peers: `host:port`, `[IPv6]:port` or `unix:/path`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

#: Bytes: `sun_path` of Linux has 108, the last of which is the end mark (unix(7)).
MAX_UNIX_PATH: Final = 107

_FORMS: Final = "host:port, [IPv6]:port or unix:/path"
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process listens. Two spellings of one address are equal (but names are not resolved)."""

    text: str  #: the one spelling that peers, logs and the ring use
    local: bool  #: a loopback address, `localhost` or a unix socket: nobody on another host can connect

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address that `text` spells.

        Raises `ValueError` with the second half of a sentence that begins with the address.
        """
        text = text.strip()
        if text.startswith("unix:"):
            return cls(f"unix:{_unix_path(text[5:])}", local=True)
        host, colon, port = text.rpartition(":")
        if not colon or not host:
            raise ValueError(f"is not an address: give {_FORMS}")
        if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
            raise ValueError("has no usable port: give host:port with a port from 1 to 65535")
        host, local = _host(host)
        return cls(f"{host}:{int(port)}", local)


def _unix_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("has no absolute path: give unix:/path")
    if "\0" in path:
        raise ValueError("has a NUL in its path: give unix:/path without it")
    size = len(path.encode("utf-8", "surrogateescape"))
    if size > MAX_UNIX_PATH:
        raise ValueError(f"has a path of {size} bytes: give one of at most {MAX_UNIX_PATH}")
    return path


def _host(host: str) -> tuple[str, bool]:
    """The one spelling of a host, and whether it is this machine by definition."""
    host = host.lower()
    if host.startswith("[") and host.endswith("]"):
        return _ip(host[1:-1], IPv6Address)
    if ":" in host:
        raise ValueError("is not an address: give an IPv6 address in brackets, [IPv6]:port")
    if host.rpartition(".")[2].isdigit():
        return _ip(host, IPv4Address)
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise ValueError(f"is not an address: give {_FORMS}")
    return host, host == "localhost"


def _ip(host: str, family: type[IPv4Address | IPv6Address]) -> tuple[str, bool]:
    try:
        ip = family(host)
    except ValueError:
        raise ValueError(f"is not an address: give {_FORMS}") from None
    if ip.is_unspecified:
        # An address is also the name under which a process owns keys, so all must know it by the same one.
        raise ValueError("stands for every address of a host: give the one at which the peers reach it")
    return (f"[{ip}]" if isinstance(ip, IPv6Address) else str(ip)), ip.is_loopback
