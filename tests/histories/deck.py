"""The faults of a run and their order, which follow from a seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from tests.histories.faults import Cut, CutFromDatabase, DatabaseRestarted, Fault, Isolated, Killed, Restarted, Stopped
from tests.histories.network import DATABASE

#: Seconds between faults, and of the quiet after every few of them.
PAUSE = (0.3, 1.5)
QUIET, QUIET_EVERY = 4.0, 5
#: How often a fault waits until all nodes serve: a fault while one bypasses has less to break.
WHOLE = 0.7
#: How often two faults overlap, and by how many seconds the second is later at most.
OVERLAP, LATER = 0.35, 2.0
#: Seconds for which a process is stopped: less than a commit waits before it marks a node out, more than that, and
#: more than a lease.
STOPPED = (0.03, 0.09), (0.15, 1.0), (3.5, 7.0)
#: Seconds until a killed process is started again.
DOWN = (0.0, 0.1), (1.0, 4.0)
#: Seconds of a cut, and of a cut by which a process must lose its lease.
CUT, LONG_CUT = (1.0, 6.0), (5.0, 8.0)
DATABASE_DOWN = (0.0, 2.0)

#: The directions that a cut closes, each from one host to another.
Ways = tuple[tuple[int, int], ...]


class Step(NamedTuple):
    """The next faults."""

    whole: bool  #: only when all nodes serve again
    pause: float  #: after that many seconds
    faults: list[tuple[float, Fault]]  #: one, or two that overlap, each with seconds until it is made


class Deck:
    """Deals faults for a site of some nodes, whose database server can be restarted, or not."""

    def __init__(self, seed: int, nodes: int, restartable: bool) -> None:
        self._choice = random.Random(seed)
        self._nodes = range(1, nodes + 1)
        self._restartable = restartable

    def deal(self) -> Iterator[Step]:
        """Every kind of fault once."""
        faults = self._processes() + self._cuts() + self._database()
        self._choice.shuffle(faults)
        number = 0
        while faults:
            made = [(0.0, faults.pop(0))]
            others = [fault for fault in faults if not set(fault.needs) & set(made[0][1].needs)]
            if others and self._choice.random() < OVERLAP:
                faults.remove(others[0])
                made.append((self._choice.uniform(0, LATER), others[0]))
            pause = self._seconds(PAUSE) + (0.0 if number % QUIET_EVERY else QUIET)
            yield Step(self._choice.random() < WHOLE, pause, made)
            number += 1

    def _processes(self) -> list[Fault]:
        return [
            *(Stopped(self._seconds(stopped), self._node()) for stopped in STOPPED),
            *(Killed(self._seconds(down), self._node()) for down in DOWN),
            Restarted(0.0, self._node()),
        ]

    def _cuts(self) -> list[Fault]:
        one, other, *others = self._shuffled()
        pair = Cut(self._seconds(CUT), _both([one], [other]), f"node{one} and node{other} cut off from each other")
        one, other, *others = self._shuffled()
        way = Cut(self._seconds(CUT), ((one, other),), f"nothing from node{one} to node{other}")
        one, *others = self._shuffled()
        mute = Cut(self._seconds(CUT), tuple((one, other) for other in others), f"nothing from node{one} to any other")
        nodes = self._shuffled()
        half, rest = nodes[: len(nodes) // 2], nodes[len(nodes) // 2 :]
        parts = Cut(self._seconds(CUT), _both(half, rest), f"{_names(half)} | {_names(rest)}")
        return [pair, way, mute, parts]

    def _database(self) -> list[Fault]:
        one, other = self._node(), self._node()
        others = [number for number in (DATABASE, *self._nodes) if number != one]
        faults: list[Fault] = [
            Isolated(self._seconds(LONG_CUT), _both([one], others), f"node{one} isolated"),
            CutFromDatabase(
                self._seconds(CUT), _both([other], [DATABASE]), f"node{other} and PostgreSQL cut off from each other"
            ),
        ]
        if self._restartable:
            faults += [DatabaseRestarted(self._seconds(DATABASE_DOWN), "fast")]
            faults += [DatabaseRestarted(self._seconds(DATABASE_DOWN), "immediate")]
        return faults

    def _node(self) -> int:
        return self._choice.choice(self._nodes)

    def _shuffled(self) -> list[int]:
        return self._choice.sample(self._nodes, len(self._nodes))

    def _seconds(self, bounds: tuple[float, float]) -> float:
        return self._choice.uniform(*bounds)


def _both(some: list[int], others: list[int]) -> Ways:
    return tuple(way for one in some for other in others for way in ((one, other), (other, one)))


def _names(nodes: list[int]) -> str:
    return ", ".join(f"node{number}" for number in sorted(nodes))
