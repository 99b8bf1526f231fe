"""The network between the nodes of a history and their database, and how connections are cut.

There are two: `namespaces`, for which this process needs privileges, and `proxies` without.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

from harness.postgres_embedded import EmbeddedPostgres
from harness.postgres_server import PostgresServer

#: The number of the database's host; the nodes' begin with 1.
DATABASE: Final = 0
#: This environment variable, set to `proxies`, forces the network without namespaces.
VARIABLE: Final = "GROUPCACHE_TEST_NETWORK"


class NetworkError(Exception):
    """A network that cannot be made here; the message says why."""


class Host(ABC):
    """The host of one node."""

    number: int

    @property
    @abstractmethod
    def groupcache(self) -> dict[str, str]:
        """The addresses of the node, as its `groupcache` section has them."""

    @abstractmethod
    def dsn(self, database: str) -> str:
        """Return the URL by which this host reaches a database."""

    @abstractmethod
    def entered(self) -> AbstractContextManager[None]:
        """Put processes started and sockets made by this thread meanwhile on this host; nothing may be awaited."""

    @abstractmethod
    def started(self, pid: int) -> None:
        """Learn that the node runs as the process `pid`."""


class Network(ABC):
    """Some hosts and a database server. Its maker has to close it."""

    hosts: Sequence[Host]
    postgres: PostgresServer
    #: The faults that it cannot cause, and why, for people; empty: none.
    left_out: str

    @abstractmethod
    def cut(self, sender: int, receiver: int) -> None:
        """Silently lose everything that one host sends to the other from now on."""

    @abstractmethod
    def heal(self, sender: int, receiver: int) -> None:
        """Lose nothing more; healing what was not cut is no error."""

    @abstractmethod
    def database_entered(self) -> AbstractContextManager[None]:
        """Make the database server reachable by its own URLs meanwhile."""

    @abstractmethod
    def close(self) -> None:
        """End everything."""

    @property
    def restartable(self) -> EmbeddedPostgres | None:
        """The database server, if it can be stopped and started."""
        return self.postgres if isinstance(self.postgres, EmbeddedPostgres) else None


def make_network(size: int) -> Network:
    """Return a network of that many nodes, of the best kind that can be made here."""
    from tests.histories.namespaces import NamespaceNetwork
    from tests.histories.proxies import ProxyNetwork

    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "proxies"):
        raise ValueError(f"{VARIABLE}={wanted!r}: allowed is 'proxies', or nothing")
    if wanted:
        return ProxyNetwork(size, f"{VARIABLE}={wanted}")
    try:
        return NamespaceNetwork(size)
    except NetworkError as error:
        return ProxyNetwork(size, str(error))
