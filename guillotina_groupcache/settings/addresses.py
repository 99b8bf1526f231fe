"""Addresses of processes: `host:port`, `[IPv6]:port` or `unix:/path`, and the other forms that settings allow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar, Final

#: Bytes: `sun_path` of Linux has 108, the last of which is the terminating zero (unix(7)).
MAX_UNIX_PATH: Final = 107
#: Ports in a range; they are tried one after the other until one is free.
MAX_PORTS: Final = 1024

_FORMS: Final = "host:port, [IPv6]:port or unix:/path"
_HOST_FORMS: Final = "host or host:port, with IPv6 in brackets"
_NAME_FORM: Final = "dns:host:port"
_WILDCARD: Final = "stands for every address of a host: give the one at which the peers reach it"
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process listens. Two spellings of one address are equal, except that host names are not resolved."""

    text: str  #: the canonical spelling, which peers, logs and the ring use

    def __str__(self) -> str:
        return self.text

    @property
    def tcp(self) -> bool:
        """Whether it is TCP, where everybody can connect; otherwise it is a unix socket, which has a mode."""
        return not self.text.startswith("unix:")

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address that `text` spells.

        Raises `ValueError` with the second half of a sentence that begins with the address.
        """
        text = text.strip()
        if text.startswith("unix:"):
            return cls(f"unix:{_unix_path(text[5:])}")
        host, port = _split(text, _FORMS)
        number = _port(port)
        return Host.parse(host).at(number)


@dataclass(frozen=True, slots=True)
class Host:
    """A host that peers can dial."""

    text: str

    @classmethod
    def parse(cls, text: str, forms: str = _FORMS) -> Host:
        """The host that `text` spells. Raises `ValueError` as `Address.parse` does."""
        text, wildcard = _host(text, forms)
        if wildcard:
            # A process owns keys under its address, so all processes must know it by the same one.
            raise ValueError(_WILDCARD)
        return cls(text)

    def at(self, port: int) -> Address:
        """The address of a port of this host."""
        return Address(f"{self.text}:{port}")


@dataclass(frozen=True, slots=True)
class Advertised:
    """The host, and perhaps the port, that peers dial instead of the address where a process listens."""

    host: Host
    port: int | None = None  #: None: the port on which the process listens

    def __str__(self) -> str:
        return self.host.text if self.port is None else f"{self.host.text}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Advertised:
        """Parse `host` or `host:port`. Raises `ValueError` as `Address.parse` does."""
        text = text.strip()
        host, colon, port = text.rpartition(":")
        if text.startswith("unix:"):
            raise ValueError(f"is not an address: give {_HOST_FORMS}")
        if not colon or text.endswith("]"):
            return cls(Host.parse(text, _HOST_FORMS))
        return cls(Host.parse(host, _HOST_FORMS), _port(port))

    def at(self, ports: tuple[int, ...]) -> tuple[Address, ...]:
        """The addresses of a process that listens on one of these ports."""
        return tuple(self.host.at(port) for port in (ports if self.port is None else (self.port,)))


@dataclass(frozen=True, slots=True)
class DnsName:
    """`dns:host:port`, a host name that stands for addresses which may change."""

    text: str
    tcp: ClassVar[bool] = True  #: as in `Address`

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> DnsName:
        """The name that `text` spells. Raises `ValueError` as `Address.parse` does."""
        text = text.strip()
        host, port = _split(text[len("dns:") :], _NAME_FORM)
        host, _ = _host(host, _NAME_FORM)
        if host.startswith("[") or host.rpartition(".")[2].isdigit():
            raise ValueError("has an address instead of a name: give it without dns:")
        return cls(f"dns:{host}:{_port(port)}")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a process may listen: on the first of these addresses that is free. Without any it does not listen."""

    addresses: tuple[Address, ...]
    wildcard: bool = False  #: every address of the host: peers need one that they can dial
    tcp: bool = True

    @classmethod
    def parse(cls, text: str) -> Listen:
        """Parse an address or `host:first-last`, either also with `0.0.0.0` or `[::]` for all addresses of the host.

        Raises `ValueError` as `Address.parse` does.
        """
        text = text.strip()
        if text.startswith("unix:"):
            return cls((Address.parse(text),), tcp=False)
        host, port = _split(text, _FORMS)
        ports = _ports(port)
        host, wildcard = _host(host, _FORMS)
        return cls(tuple(Host(host).at(port) for port in ports), wildcard)

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports, if these are addresses with ports."""
        return tuple(int(address.text.rpartition(":")[2]) for address in self.addresses) if self.tcp else ()


def _split(text: str, forms: str) -> tuple[str, str]:
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"is not an address: give {forms}")
    return host, port


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
        raise ValueError("has no usable port: give host:port with a port from 1 to 65535")
    return int(text)


def _ports(text: str) -> range:
    first, dash, last = text.partition("-")
    if not dash:
        port = _port(text)
        return range(port, port + 1)
    ports = range(_port(first), _port(last) + 1)
    if not 1 <= len(ports) <= MAX_PORTS:
        raise ValueError(f"has no usable range of ports: give host:first-last with at most {MAX_PORTS} ports")
    return ports


def _unix_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("has no absolute path: give unix:/path")
    if not path.isprintable():
        # All peers read the address in the members table and show it in their logs.
        raise ValueError("has a character in its path that cannot be printed: give unix:/path without it")
    size = len(path.encode("utf-8", "surrogateescape"))
    if size > MAX_UNIX_PATH:
        raise ValueError(f"has a path of {size} bytes: give one of at most {MAX_UNIX_PATH}")
    return path


def _host(host: str, forms: str) -> tuple[str, bool]:
    """The canonical spelling of a host, and whether it stands for all addresses of this machine."""
    host = host.lower()
    if host.startswith("[") and host.endswith("]"):
        return _ip(host[1:-1], IPv6Address, forms)
    if ":" in host:
        raise ValueError("is not an address: give an IPv6 address in brackets, [IPv6]:port")
    if host.rpartition(".")[2].isdigit():
        return _ip(host, IPv4Address, forms)
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise ValueError(f"is not an address: give {forms}")
    return host, False


def _ip(host: str, family: type[IPv4Address | IPv6Address], forms: str) -> tuple[str, bool]:
    try:
        ip = family(host)
    except ValueError:
        raise ValueError(f"is not an address: give {forms}") from None
    return (f"[{ip}]" if isinstance(ip, IPv6Address) else str(ip)), ip.is_unspecified
