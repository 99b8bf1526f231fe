"""What the `groupcache` section says, once it is read (`section`), and what follows from it for a process."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from typing import Final

from guillotina_groupcache.settings.addresses import Address, Advertised, Listen, Name

#: Buckets of the version table; the same in the whole cluster.
BUCKETS: Final = 1 << 20
#: Seconds for which a view of the members table lets a process serve (R2).
LEASE: Final = 3.0


class Secret:
    """The secret that all peers share. It shows itself to `reveal` only, never in a log or an error."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself, for the library."""
        return self._value

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class Tls:
    """A PKI of the user's own: paths of PEM files. They are read when the library starts."""

    cert: str  #: this process' certificate, with its chain
    key: str  #: its private key
    ca: str  #: the authorities whose certificates a peer may show


@dataclass(frozen=True, slots=True)
class Settings:
    """What the `groupcache` section says, checked. `parse` makes it; the defaults are those of an empty section."""

    listen: Listen | None = None  #: where the peers reach this process; None: a unix socket, see `sockets`
    advertise: Advertised | None = None  #: what the peers dial in place of that
    peers: tuple[Address | Name, ...] | None = None  #: who is let in; None: everyone in the members table
    secret: Secret | None = None  #: at most one of `secret` and `tls` is given
    tls: Tls | None = None
    size: int = 256 * 10**6  #: bytes of memory, main and hot copies together, of this process
    ttl: float = 3600.0  #: seconds for which a value is served at most; 0: no limit
    push: bool = True  #: whether what was written is given to its owner at once
    enabled: bool = True  #: False: this process caches and announces nothing, and everything else here is as by default
    explicit: bool = False  #: whether the section gives `listen` or `peers`: then it means a cluster, or none
    server: Listen | None = None  #: for a command: where the server that it runs beside listens, as in `listen`

    @property
    def alone(self) -> bool:
        """Whether this is the only process: it neither has peers nor can be one."""
        return self.peers == ()

    def for_command(self) -> Settings:
        """These settings for a Guillotina command that runs beside the server: a client of the same peers.

        It does not listen, so it never minds an address in use. The server must learn of what it writes.
        """
        return self if self.alone else replace(self, listen=NOWHERE, server=self.listen)

    @property
    def wildcard(self) -> Listen | None:
        """Where the server listens, if that is all of a host's addresses and nothing tells which the peers dial."""
        listen = self.server or self.listen
        return listen if listen is not None and listen.wildcard and self.advertise is None else None

    def admitted(self, told: Advertised | None) -> tuple[str, ...]:
        """The addresses and names of those who are let in, the server among them; () for everyone in the table.

        `told` is what the peers dial in place of where the server listens.
        """
        if not self.peers:
            return ()
        server = self.server or self.listen or NOWHERE
        own = told.at(server.ports) if told else server.addresses
        return tuple(dict.fromkeys(str(peer) for peer in (*own, *self.peers)))


#: `listen` of a process that does not.
NOWHERE: Final = Listen(())
