"""Operations on objects, which hypothesis can build, print and shrink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from guillotina import task_vars
from guillotina.annotations import AnnotationData, AnnotationsAdapter
from guillotina.api.container import create_container
from guillotina.content import Folder, create_content, create_content_in_container, duplicate, move
from guillotina.interfaces import IPrincipalRoleManager
from guillotina.registry import REGISTRY_DATA_KEY
from guillotina.request import Request

from tests.unit.event_universe import NAMES, Of, Operation, Refused, World

TYPES = ("Item", "Folder", "Container")


def outside(ob: Any, container: Any) -> Any:
    """A container that does not lie in the object: Guillotina would walk up a circle of parents for ever."""
    above = container
    while above is not None:
        if above is ob:
            raise Refused
        above = above.__parent__
    return container


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
        ob.title = f"{world.did.total()}"
        for _ in range(self.times):
            ob.register()


@dataclass(frozen=True)
class Share(Operation):
    """Give a user a local role."""

    of: Of

    async def run(self, world: World) -> None:
        ob = await world.load(self.of, content=True)
        IPrincipalRoleManager(ob).assign_role_to_principal("guillotina.Reader", f"user{world.did.total()}")


@dataclass(frozen=True)
class Migrate(Operation):
    """Write the database's root, as `guillotina migrate` does."""

    async def run(self, world: World) -> None:
        world.txn._manager._hard_cache.clear()
        world.txn.register(await world.container(0))


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
    """Give an object another parent, another id, or both, by Guillotina's function."""

    of: Of
    into: int | None
    name: str | None = None

    async def run(self, world: World) -> None:
        ob = await world.load(self.of, content=True)
        await move(ob, None if self.into is None else outside(ob, await world.container(self.into)), self.name, False)


@dataclass(frozen=True)
class Put(Operation):
    """Set the place of an object by hand: its parent, what it is an annotation of, its names, its object id."""

    of: Of
    parent: int | None = None
    owner: int | None = None
    name: str | None = None
    oid: str | None = None
    clear: str = ""
    registers: bool = True

    async def run(self, world: World) -> None:
        ob = await world.load(self.of)
        if self.parent is not None:
            ob.__parent__ = outside(ob, await world.container(self.parent))
        if self.owner is not None:
            ob.__of__ = (await world.owner(self.owner)).__uuid__
        if self.name is not None:
            ob.id = self.name
            ob.__name__ = self.name
        if self.oid is not None:
            ob.__uuid__ = self.oid
        if self.clear:
            setattr(ob, self.clear, None)
        if self.registers:
            ob.register()
        world.met(ob)


@dataclass(frozen=True)
class Duplicate(Operation):
    """Copy an object, with its annotations."""

    of: Of
    into: int | None
    name: str

    async def run(self, world: World) -> None:
        ob = await world.load(self.of, content=True)
        into = None if self.into is None else await world.container(self.into)
        task_vars.request.set(Request("http", "POST", "/", b"", []))  # Guillotina needs a request, for files
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
        ob = await world.owner(self.container)
        data = AnnotationData() if self.other is None else await world.load(self.other)
        if self.parent is not None:
            data.__parent__ = outside(data, await world.container(self.parent))
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
        annotations = AnnotationsAdapter(await world.owner(self.container))
        data = await annotations.async_get(self.name)
        if data is None:
            raise Refused
        world.met(data)
        data["value"] = world.did.total()
        if self.how == "register":
            data.register()
        elif self.how == "set":
            await annotations.async_set(self.to, data)
        else:
            await annotations.async_del(self.name)
            world.frame.objects.pop(data.__uuid__, None)


@dataclass(frozen=True)
class Blob(Operation):
    """A chunk of a blob: Guillotina inserts a stub of the object where there is no row."""

    oid: str

    async def run(self, world: World) -> None:
        world.used.add(self.oid)
        await world.txn.write_blob_chunk(f"blob{world.did.total()}", self.oid, 0, b"data")


@dataclass(frozen=True)
class Peek(Operation):
    """Let the object that is written next read its neighbours while it is written, as an index of a catalog may."""

    async def run(self, world: World) -> None:
        world.frame.peeks = True


@dataclass(frozen=True)
class Begin(Operation):
    """Open the transaction in the database now, so that what follows is read over its connection."""

    async def run(self, world: World) -> None:
        await world.storage.start_transaction(world.txn)
