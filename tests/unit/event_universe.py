"""A small universe of objects, which random operations change through Guillotina's own API.

An operation names an object by its place in the order in which the example met it, so that a shrunk example
reads as a script.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from guillotina import task_vars
from guillotina._settings import app_settings
from guillotina.annotations import AnnotationsAdapter
from guillotina.component import get_adapter
from guillotina.const import ROOT_ID, TRASHED_ID
from guillotina.content import Resource
from guillotina.db.interfaces import IVacuumProvider
from guillotina.transactions import transaction
from guillotina.utils import get_object_by_uid

from guillotina_groupcache.interfaces import GroupcacheError
from tests.unit.life_app import App

#: Ids of children and names of annotations alike. The second looks like a key of Guillotina's own cache.
NAMES: Final = ("a", "b-annotation", "ä /%")
#: Object ids that are given: one is cut off by the database, one is its cut form, one is empty.
LONG: Final = "long" * 20
GIVEN: Final = ("given", LONG, LONG[:64], "")
#: Object ids of the generator that are read before there is an object.
SPARE: Final = 1


class Refused(Exception):
    """The operation has no object to work on, or was asked to fail."""


@dataclass(frozen=True)
class Of:
    """An object of the example, and how it comes into the transaction, where it is not in it.

    "uid": with all its parents. "bare": without its parent, so that a write takes it out of there. "child": by its
    container and id. "held": as the Python object that was met last, in another transaction perhaps.
    """

    number: int
    how: str = "uid"


class Operation:
    """A step, in a transaction or as one."""

    commits: ClassVar[bool] = False

    async def run(self, world: World) -> None:
        raise NotImplementedError


@dataclass
class Frame:
    """One transaction, and the objects that it has loaded, by object id."""

    txn: Any = None
    objects: dict[str, Any] = field(default_factory=dict)
    peeks: bool = False


class World:
    """What one example has met so far."""

    def __init__(self, app: App, committed: Callable[[World, Operation], Awaitable[None]]) -> None:
        self.app = app
        self.committed = committed
        self.storage = app.database.storage
        self.oids: list[str] = []
        self.made = 0
        self.used: set[str] = set()
        self.held: dict[str, Any] = {}
        self.trashed: list[tuple[str, str]] = []
        self.frames: list[Frame] = []
        self.refused: list[str] = []
        self.did: Counter[str] = Counter()

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    @property
    def txn(self) -> Any:
        return self.frame.txn

    def generate(self, ob: Any) -> str:
        """Guillotina's `uid_generator`."""
        self.made += 1
        return f"generated-{self.made}"

    def universe(self) -> list[str]:
        """Every object id that a key may have now."""
        generated = [f"generated-{n}" for n in range(1, self.made + SPARE + 1)]
        return list(dict.fromkeys([ROOT_ID, TRASHED_ID, GIVEN[0], *(oid[:64] for oid in self.used), *generated]))

    def met(self, ob: Any) -> Any:
        """Remember an object."""
        if ob.__uuid__ is not None:
            self.used.add(ob.__uuid__)
            if ob.__uuid__ not in self.oids and ob.__uuid__ != ROOT_ID:
                self.oids.append(ob.__uuid__)
            self.frame.objects[ob.__uuid__] = self.held[ob.__uuid__] = ob
        return ob

    def oid(self, number: int, content: bool = False) -> str:
        """The object id of an object, or only of content."""
        oids = [oid for oid in self.oids if not content or isinstance(self.held[oid], Resource)]
        if not oids:
            raise Refused
        return oids[number % len(oids)]

    async def owner(self, number: int, content: bool = False) -> Any:
        """The database's root, or an object, or only content."""
        if number == 0:
            return await self.txn.manager.get_root(self.txn)
        return await self.load(Of(number - 1), content)

    async def container(self, number: int) -> Any:
        """The database's root, or content."""
        return await self.owner(number, content=True)

    async def load(self, of: Of, content: bool = False) -> Any:
        """An object; within a transaction always the same, unless the one that is held is asked for."""
        oid = self.oid(of.number, content)
        if of.how == "held":
            ob = self.held[oid]
        elif oid in self.frame.objects:
            return self.frame.objects[oid]
        elif of.how == "bare":
            ob = await self.txn.get(oid)
        else:
            ob = await get_object_by_uid(oid, self.txn)
            if of.how == "child":
                ob = await self.txn.get_child(ob.__parent__, ob.__name__)
        if ob is None:
            raise Refused
        ob.__txn__ = self.txn
        return self.met(ob)

    async def do(self, operation: Operation) -> None:
        """Do it, unless Guillotina refuses; what may have committed is checked either way."""
        try:
            await operation.run(self)
        except (AssertionError, GroupcacheError):
            raise
        except Exception as error:  # Guillotina refuses in many ways, AttributeError among them
            self.refused.append(f"{type(operation).__name__}: {error!r}")
        else:
            self.did[type(operation).__name__] += 1
        if operation.commits:
            await self.committed(self, operation)


@dataclass(frozen=True)
class Transaction(Operation):
    """A step of an example; within another transaction, one of another user that runs before that goes on."""

    operations: tuple[Operation, ...]
    end: str = "commit"
    adopts: bool = False
    commits: ClassVar[bool] = True

    async def run(self, world: World) -> None:
        before = task_vars.tm.get(), task_vars.txn.get()
        ending = {"abort_when_done": self.end == "abort", "adopt_parent_txn": self.adopts}
        world.frames.append(Frame())
        try:
            async with transaction(db=world.app.database, **ending) as world.frame.txn:
                for operation in self.operations:
                    await world.do(operation)
                if self.end == "raise":
                    raise Refused
        finally:
            world.frames.pop()
            if world.frames:
                task_vars.tm.set(before[0])
                task_vars.txn.set(before[1])


@dataclass(frozen=True)
class Vacuum(Operation):
    """The vacuum deletes what one deletion gave it, at any later time."""

    number: int
    commits: ClassVar[bool] = True

    async def run(self, world: World) -> None:
        if not world.trashed:
            raise Refused
        oid, table = world.trashed.pop(self.number % len(world.trashed))
        worker = world.storage.connection_manager.vacuum
        await type(worker).add_to_queue(worker, oid, table)
        await worker._queue.join()


@dataclass(frozen=True)
class DbVacuum(Operation):
    """`guillotina dbvacuum`."""

    commits: ClassVar[bool] = True

    async def run(self, world: World) -> None:
        vacuum = get_adapter(world.storage, IVacuumProvider)
        vacuum._pause = 0
        await vacuum()


async def peek(world: World, ob: Any) -> None:
    """Read every object that may lie beside one that is being written."""
    if not world.frames or not world.frame.peeks:
        return
    for container in (ob.__parent__, await world.txn.manager.get_root(world.txn)):
        for name in NAMES if container is not None else ():
            await world.txn.get_child(container, name)
            await AnnotationsAdapter(ob).async_get(name)


def begin(world: World) -> None:
    """Let a running Guillotina take its object ids from this example, and keep trashed objects for it."""
    app_settings["uid_generator"] = world.generate

    async def add_to_queue(oid: str, table: str) -> None:
        world.trashed.append((oid, table))

    world.storage.connection_manager.vacuum.add_to_queue = add_to_queue
