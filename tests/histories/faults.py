"""The faults of a site: each begins, lasts, and is repaired. All methods block."""

from __future__ import annotations

import signal
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.client import NodeError
from tests.histories.network import DATABASE
from tests.histories.site import Site, SiteNode

#: The parts that faults change, in the order in which a fault locks them.
PROCESSES, NETWORK, DATABASE_SERVER = CHANGED = ("processes", "the network", "the database")

#: Seconds until an orderly end counts as failed.
STOP_TIMEOUT = 60.0


@dataclass(frozen=True)
class Fault:
    """A fault that lasts for `seconds`. Nodes are named by their numbers, which begin with 1."""

    seconds: float
    #: The parts that it changes: two faults that change the same part do not overlap.
    needs: ClassVar[tuple[str, ...]]

    @abstractmethod
    def begin(self, site: Site) -> None:
        """Cause it."""

    @abstractmethod
    def end(self, site: Site) -> None:
        """Repair it."""

    @property
    def away(self) -> frozenset[int]:
        """Nodes that accept no connection meanwhile, and whose answers may break off."""
        return frozenset()

    @property
    def without_database(self) -> frozenset[int] | None:
        """Nodes that the database does not answer meanwhile, so that they may answer with errors; None: all."""
        return frozenset()


@dataclass(frozen=True)
class _NodeFault(Fault):
    node: int
    needs: ClassVar[tuple[str, ...]] = (PROCESSES,)

    def _node(self, site: Site) -> SiteNode:
        return site.nodes[self.node - 1]


class Stopped(_NodeFault):
    """A process is stopped where it is (SIGSTOP), and goes on later."""

    def __str__(self) -> str:
        return f"node{self.node} stopped for {self.seconds:.2f} s"

    def begin(self, site: Site) -> None:
        self._node(site).pause()

    def end(self, site: Site) -> None:
        self._node(site).resume()


class Killed(_NodeFault):
    """A process is killed (SIGKILL), and started again later."""

    def __str__(self) -> str:
        return f"node{self.node} killed, started after {self.seconds:.1f} s"

    @property
    def away(self) -> frozenset[int]:
        return frozenset((self.node,))

    def begin(self, site: Site) -> None:
        self._node(site).kill()

    def end(self, site: Site) -> None:
        self._node(site).start_until_ready()


class Restarted(Killed):
    """A process is ended in order (SIGTERM), and started again."""

    def __str__(self) -> str:
        return f"node{self.node} restarted in order"

    def begin(self, site: Site) -> None:
        node = self._node(site)
        status = node.stop(signal.SIGTERM, STOP_TIMEOUT)
        if status not in (0, -signal.SIGTERM):
            raise NodeError(f"{node.name} ended with status {status}:\n{node.log()}")


class PoolLeftClosed(Killed):
    """Guillotina closed its pool of connections while PostgreSQL was away, and leaves it closed: it is started again.

    A write that meets a database which shuts down makes `PGConnectionManager.restart` close the pool; if that cannot
    make a new one, nothing ever does, with any cache or none: only a restart helps such a process.
    """

    def __str__(self) -> str:
        return f"node{self.node} has a pool that Guillotina closed for good: started again"

    @property
    def without_database(self) -> frozenset[int]:
        return self.away


@dataclass(frozen=True)
class Cut(Fault):
    """Everything that is sent in some directions, each from one node to another, is lost."""

    ways: tuple[tuple[int, int], ...]
    how: str
    needs: ClassVar[tuple[str, ...]] = (NETWORK,)

    def __str__(self) -> str:
        return f"{self.how} for {self.seconds:.1f} s"

    def begin(self, site: Site) -> None:
        for way in self.ways:
            site.network.cut(*way)

    def end(self, site: Site) -> None:
        for way in self.ways:
            site.network.heal(*way)


class CutFromDatabase(Cut):
    """One node and the database do not reach each other."""

    needs: ClassVar[tuple[str, ...]] = (DATABASE_SERVER,)

    @property
    def without_database(self) -> frozenset[int]:
        return frozenset(way[0] for way in self.ways) - {DATABASE}


class Isolated(CutFromDatabase):
    """One node reaches neither the database nor any other node."""

    needs: ClassVar[tuple[str, ...]] = (NETWORK, DATABASE_SERVER)

    @property
    def without_database(self) -> frozenset[int]:
        return frozenset(way[0] for way in self.ways if way[1] == DATABASE)


@dataclass(frozen=True)
class DatabaseRestarted(Fault):
    """PostgreSQL is shut down, and started again later; `immediate` is a crash."""

    mode: Literal["fast", "immediate"]
    needs: ClassVar[tuple[str, ...]] = (DATABASE_SERVER,)

    def __str__(self) -> str:
        return f"PostgreSQL shut down ({self.mode}), started after {self.seconds:.1f} s"

    @property
    def without_database(self) -> None:
        return None

    def begin(self, site: Site) -> None:
        assert site.network.restartable is not None
        site.network.restartable.stop(self.mode)

    def end(self, site: Site) -> None:
        assert site.network.restartable is not None
        with site.network.database_entered():
            site.network.restartable.start()
