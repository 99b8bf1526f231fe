"""What the `groupcache` section says after `parser` has read and checked it, and what follows for a process."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from typing import Final

from guillotina_groupcache.settings.addresses import Address, Advertised, DnsName, Listen

#: Buckets of the version table; the same in the whole cluster.
BUCKETS: Final = 1 << 20
#: Seconds for which a view of the members table lets a process serve (R2).
LEASE: Final = 3.0


class Secret:
    """The secret that all peers share. Only `reveal` shows it; a log line or an error message never does."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself, for the library."""
        return self._value

    def __repr__(self) -> str:
        return "'***'"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class Tls:
    """The user's own PKI: paths of PEM files, which are read when the library starts."""

    cert: str  #: this process' certificate, with its chain
    key: str  #: its private key
    ca: str  #: the authorities that may have signed a peer's certificate


@dataclass(frozen=True, slots=True)
class Settings:
    """The checked content of the `groupcache` section. `parse` makes it; the defaults are those of an empty section."""

    listen: Listen | None = None  #: where the peers reach this process; None: a unix socket, see `sockets`
    advertise: Advertised | None = None  #: what the peers dial instead
    peers: tuple[Address | DnsName, ...] | None = None  #: the admitted peers; None: all in the members table
    secret: Secret | None = None  #: at most one of `secret` and `tls` is given
    tls: Tls | None = None
    size: int = 256 * 10**6  #: bytes of this process' memory, for everything that is cached in it
    ttl: float = 3600.0  #: seconds for which a value may be served; 0: no limit
    push: bool = True  #: whether a written value is sent to its owner at once
    enabled: bool = True  #: False: this process caches and announces nothing, and the other fields have their defaults
    explicit: bool = False  #: whether the section has `listen` or `peers`, and so means a cluster, or none
    server: Listen | None = None  #: of a command: where the server beside it listens

    @property
    def alone(self) -> bool:
        """Whether this is the only process: it neither has peers nor can be one."""
        return self.peers == ()

    def for_command(self) -> Settings:
        """These settings for a Guillotina command that runs beside the server: it is a client of the same peers.

        It does not listen, so an address in use does not matter. The server must learn what it writes.
        """
        return self if self.alone else replace(self, listen=NOWHERE, server=self.listen)

    @property
    def wildcard(self) -> Listen | None:
        """Where the server listens, if that is all addresses of a host and `advertise` is not given."""
        listen = self.server or self.listen
        return listen if listen is not None and listen.wildcard and self.advertise is None else None

    def admitted(self, advertised: Advertised | None) -> tuple[str, ...]:
        """The addresses and names of admitted peers, the server among them; () for all in the members table.

        `advertised` is what the peers dial instead of where the server listens.
        """
        if not self.peers:
            return ()
        server = self.server or self.listen or NOWHERE
        own = advertised.at(server.ports) if advertised else server.addresses
        return tuple(dict.fromkeys(str(peer) for peer in (*own, *self.peers)))


#: The `listen` of a process that does not listen.
NOWHERE: Final = Listen(())
