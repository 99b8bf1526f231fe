"""A small universe of objects, and random operations on it through Guillotina's own API.

An operation names an object by its place in the order in which the example met it, so that a shrunk example
reads as a script. One that Guillotina refuses does nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from guillotina import task_vars
from guillotina._settings import app_settings
from guillotina.annotations import AnnotationData, AnnotationsAdapter
from guillotina.api.container import create_container
from guillotina.component import get_adapter
from guillotina.const import ROOT_ID, TRASHED_ID
from guillotina.content import Folder, create_content, create_content_in_container, duplicate, move
from guillotina.db.interfaces import IVacuumProvider
from guillotina.interfaces import IPrincipalRoleManager
from guillotina.registry import REGISTRY_DATA_KEY
from guillotina.transactions import transaction
from guillotina.utils import get_object_by_uid

from guillotina_groupcache.interfaces import GroupcacheError
from tests.unit.life_app import App

#: Ids of children and names of annotations alike. The second looks like a key of Guillotina's own cache.
NAMES: Final = ("a", "b-annotation", "ä /%")
#: Object ids that are given: one is cut off by the database, one is its cut form, one is empty.
LONG: Final = "long" * 20
GIVEN: Final = ("given", LONG, LONG[:64], "")
TYPES: Final = ("Item", "Folder", "Container")
#: Object ids that are read before anybody has made an object of them.
SPARE: Final = 2


class Refused(Exception):
    """The operation has no object to work on, or was asked to fail."""


@dataclass
class Frame:
    """One transaction, and the objects that it has loaded, by object id."""

    txn: Any
    objects: dict[str, Any] = field(default_factory=dict)
    peeks: bool = False


class World:
    """What one example has met so far."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.storage = app.database.storage
        self.oids: list[str] = []
        self.made = 0
        self.held: dict[str, Any] = {}
        self.trashed: list[tuple[str, str]] = []
        self.frames: list[Frame] = []
        self.did: list[str] = []

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
        return [ROOT_ID, TRASHED_ID, "nobody", *dict.fromkeys(oid[:64] for oid in GIVEN), *generated]

    def met(self, ob: Any) -> Any:
        """Remember an object."""
        if ob.__uuid__ is not None:
            if ob.__uuid__ not in self.oids and ob.__uuid__ != ROOT_ID:
                self.oids.append(ob.__uuid__)
            self.frame.objects[ob.__uuid__] = self.held[ob.__uuid__] = ob
        return ob

    def oid(self, number: int) -> str:
        if not self.oids:
            raise Refused
        return self.oids[number % len(self.oids)]

    async def container(self, number: int) -> Any:
        """The database's root, or an object."""
        if number == 0:
            return await self.txn.manager.get_root(self.txn)
        return await self.load(Of(number - 1))

    async def load(self, of: Of) -> Any:
        """An object; within a transaction always the same."""
        oid = self.oid(of.number)
        if oid in self.frame.objects:
            return self.frame.objects[oid]
        if of.how == "held":
            if oid not in self.held:
                raise Refused
            ob = self.held[oid]
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
        try:
            await operation.run(self)
        except GroupcacheError:
            raise
        except Exception:  # Guillotina refuses in many ways, AttributeError among them
            return
        self.did.append(type(operation).__name__)


@asynccontextmanager
async def _frame(world: World, txn: Any) -> AsyncIterator[None]:
    world.frames.append(Frame(txn))
    try:
        yield
    finally:
        world.frames.pop()


@dataclass(frozen=True)
class Of:
    """An object of the example, and how it comes into the transaction.

    "uid": with all its parents. "bare": without its parent, so that a write takes it out of there. "child": by its
    container and id. "held": as the Python object that an earlier transaction has left.
    """

    number: int
    how: str = "uid"


class Operation:
    """Something that is done in a transaction."""

    async def run(self, world: World) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Create(Operation):
    """A new object, with an object id of `GIVEN`, of another object, or a generated one."""

    into: int
    name: str
    type_: str = "Folder"
    oid: str | int | None = None

    async def run(self, world: World) -> None:
        oid = world.oid(self.oid) if isinstance(self.oid, int) else self.oid
        ob = await create_content_in_container(
            await world.container(self.into),
            self.type_,
            self.name,
            check_security=False,
            check_constraints=False,
            **({} if oid is None else {"__uuid__": oid}),
        )
        world.met(ob)


@dataclass(frozen=True)
class Install(Operation):
    """A container in the database, with its registry."""

    name: str

    async def run(self, world: World) -> None:
        container = await create_container(await world.container(0), self.name, owner_id="root", emit_events=False)
        world.met(container)
        world.met(container.__gannotations__[REGISTRY_DATA_KEY])


@dataclass(frozen=True)
class RegisterAs(Operation):
    """A new object that is registered by hand, without and with the mark of a new one."""

    into: int
    name: str
    oid: str
    new: bool = True

    async def run(self, world: World) -> None:
        ob = await create_content("Folder", id=self.name)
        ob.__parent__ = await world.container(self.into)
        ob.__new_marker__ = self.new
        ob.__uuid__ = self.oid
        world.txn.register(ob)
        world.met(ob)


@dataclass(frozen=True)
class Read(Operation):
    """Read an object, and the lists of it."""

    of: Of

    async def run(self, world: World) -> None:
        ob = await world.load(self.of)
        for read in (world.txn.keys, world.txn.len, world.txn.get_annotation_keys):
            await read(ob.__uuid__)


@dataclass(frozen=True)
class Modify(Operation):
    """Change a field, and register once or more."""

    of: Of
    times: int = 1

    async def run(self, world: World) -> None:
        ob = await world.load(self.of)
        ob.title = f"{len(world.did)}"
        for _ in range(self.times):
            ob.register()


@dataclass(frozen=True)
class Share(Operation):
    """Give somebody a local role, at the root too."""

    container: int

    async def run(self, world: World) -> None:
        ob = await world.container(self.container)
        IPrincipalRoleManager(ob).assign_role_to_principal("guillotina.Reader", f"user{len(world.did)}")


@dataclass(frozen=True)
class Retype(Operation):
    """Change the type of an object."""

    of: Of
    type_: str

    async def run(self, world: World) -> None:
        ob = await world.load(self.of)
        ob.type_name = self.type_
        ob.register()


@dataclass(frozen=True)
class Move(Operation):
    """Move, rename, or both, by Guillotina's function."""

    of: Of
    into: int | None
    name: str | None = None

    async def run(self, world: World) -> None:
        ob = await world.load(self.of)
        await move(ob, None if self.into is None else await world.container(self.into), self.name, False)


@dataclass(frozen=True)
class Place(Operation):
    """Set the place of an object by hand: its parent, what it is an annotation of, its names, its object id."""

    of: Of
    parent: int | None = None
    owner: int | None = None
    name: str | None = None
    oid: str | None = None
    clear: str = ""

    async def run(self, world: World) -> None:
        ob = await world.load(self.of)
        if self.parent is not None:
            ob.__parent__ = await world.container(self.parent)
        if self.owner is not None:
            ob.__of__ = (await world.container(self.owner)).__uuid__
        if self.name is not None:
            ob.id = self.name
            ob.__name__ = self.name
        if self.oid is not None:
            ob.__uuid__ = self.oid
        if self.clear:
            setattr(ob, self.clear, None)
        ob.register()
        world.met(ob)


@dataclass(frozen=True)
class Duplicate(Operation):
    """Copy an object, with its annotations."""

    of: Of
    into: int | None
    name: str

    async def run(self, world: World) -> None:
        ob = await world.load(self.of)
        into = None if self.into is None else await world.container(self.into)
        world.met(await duplicate(ob, into, self.name, check_permission=False))


@dataclass(frozen=True)
class Delete(Operation):
    """Delete an object; by its folder too."""

    of: Of
    by_folder: bool = False

    async def run(self, world: World) -> None:
        ob = await world.load(self.of)
        if self.by_folder:
            await Folder.async_del(ob.__parent__, ob.__name__)
        else:
            world.txn.delete(ob)
        world.frame.objects.pop(ob.__uuid__, None)


@dataclass(frozen=True)
class Annotate(Operation):
    """Set an annotation of an object or of an annotation: a new one, or `other`, as it is or with a parent."""

    container: int
    name: str
    parent: int | None = None
    other: Of | None = None

    async def run(self, world: World) -> None:
        ob = await world.container(self.container)
        data = AnnotationData() if self.other is None else await world.load(self.other)
        if self.parent is not None:
            data.__parent__ = await world.container(self.parent)
        await AnnotationsAdapter(ob).async_set(self.name, data)
        world.met(data)


@dataclass(frozen=True)
class ChangeAnnotation(Operation):
    """Change an annotation: its data, by `async_set`, by a `async_set` under another name, or delete it."""

    container: int
    name: str
    how: str = "register"
    to: str = NAMES[0]

    async def run(self, world: World) -> None:
        annotations = AnnotationsAdapter(await world.container(self.container))
        data = await annotations.async_get(self.name)
        if data is None:
            raise Refused
        world.met(data)
        data["value"] = len(world.did)
        if self.how == "register":
            data.register()
        elif self.how == "set":
            await annotations.async_set(self.to, data)
        else:
            await annotations.async_del(self.name)
            world.frame.objects.pop(data.__uuid__, None)


@dataclass(frozen=True)
class Blob(Operation):
    """A part of a blob: Guillotina makes a stub of the object where there is none."""

    oid: str

    async def run(self, world: World) -> None:
        await world.txn.write_blob_chunk(f"blob{len(world.did)}", self.oid, 0, b"data")


@dataclass(frozen=True)
class Peek(Operation):
    """What is written next reads its neighbours while it is written, as an index of a catalog may."""

    async def run(self, world: World) -> None:
        world.frame.peeks = True


@dataclass(frozen=True)
class Begin(Operation):
    """Open the transaction in the database now, so that what follows is read over its connection."""

    async def run(self, world: World) -> None:
        await world.storage.start_transaction(world.txn)


async def peek(world: World, ob: Any) -> None:
    """Read all that may lie beside an object that is being written."""
    if not world.frames or not world.frame.peeks:
        return
    for container in (ob.__parent__, await world.txn.manager.get_root(world.txn)):
        for name in NAMES if container is not None else ():
            await world.txn.get_child(container, name)
            await AnnotationsAdapter(ob).async_get(name)


@dataclass(frozen=True)
class Transaction(Operation):
    """A step of an example; within another one, somebody else's that is done before that goes on."""

    operations: tuple[Operation, ...]
    end: str = "commit"
    adopts: bool = False

    async def run(self, world: World) -> None:
        before = task_vars.tm.get(), task_vars.txn.get()
        ending = {"abort_when_done": self.end == "abort", "adopt_parent_txn": self.adopts}
        try:
            async with transaction(db=world.app.database, **ending) as txn, _frame(world, txn):
                for operation in self.operations:
                    await world.do(operation)
                if self.end == "raise":
                    raise Refused
        finally:
            if world.frames:
                task_vars.tm.set(before[0])
                task_vars.txn.set(before[1])


@dataclass(frozen=True)
class Vacuum(Operation):
    """The vacuum deletes what one deletion gave it, at any time after."""

    number: int

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

    everything: ClassVar[bool] = True

    async def run(self, world: World) -> None:
        vacuum = get_adapter(world.storage, IVacuumProvider)
        vacuum._pause = 0
        await vacuum()


def settings(world: World) -> None:
    """Let a running Guillotina make its object ids, and keep what is trashed, for one example."""
    app_settings["uid_generator"] = world.generate

    async def add_to_queue(oid: str, table: str) -> None:
        world.trashed.append((oid, table))

    world.storage.connection_manager.vacuum.add_to_queue = add_to_queue
