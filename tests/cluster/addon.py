"""A Guillotina add-on for the tests: it shows what a node does, and holds a request where a test wants it.

It does not change the cache: the calls of Guillotina's storage methods are counted, not replaced.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections import Counter
from typing import Any, ClassVar

from guillotina import configure
from guillotina.annotations import AnnotationData
from guillotina.content import create_content_in_container, move
from guillotina.db.storages.pg import PostgresqlStorage
from guillotina.interfaces import IAnnotations, IApplication, IContainer, IFolder, IResource
from guillotina.response import HTTPBadRequest, HTTPNotFound, Response
from guillotina.transactions import get_transaction

#: Seconds until a request that is held at a gate ends with an error.
GATE_TIMEOUT = 60.0

app_settings = {"middlewares": ["tests.cluster.addon.InFlight"]}

_service = functools.partial(configure.service, permission="guillotina.Manage")


class InFlight:
    """A middleware that counts the requests under way."""

    count: ClassVar[int] = 0

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        InFlight.count += 1
        try:
            return await self._app(scope, receive, send)
        finally:
            InFlight.count -= 1


@_service(context=IApplication, name="@in-flight", method="GET")
async def in_flight(context: Any, request: Any) -> int:
    """Return the number of requests under way, this one among them, without reading from the database."""
    return InFlight.count


# --- reads from the database

_calls: list[list[Any]] = []


def _counted(name: str) -> None:
    original = getattr(PostgresqlStorage, name)

    @functools.wraps(original)
    async def counted(self: Any, txn: Any, *arguments: Any) -> Any:
        _calls.append([name, *arguments])
        return await original(self, txn, *arguments)

    setattr(PostgresqlStorage, name, counted)


for _name in ("load", "keys", "len", "get_child", "get_children", "get_annotation", "get_annotation_keys"):
    _counted(_name)


@_service(context=IApplication, name="@storage-calls", method="GET")
async def storage_calls(context: Any, request: Any) -> Any:
    """Return the calls of the storage's methods that read, with their arguments, since they were last forgotten."""
    return _calls


@_service(context=IApplication, name="@storage-calls", method="DELETE")
async def forget_storage_calls(context: Any, request: Any) -> None:
    """Forget the calls so far."""
    _calls.clear()


# --- gates: a request waits in the middle of its transaction until another request opens the gate

_gates: dict[str, asyncio.Event] = {}
_waiting: Counter[str] = Counter()


async def _wait_at(gate: str) -> None:
    _waiting[gate] += 1
    try:
        await asyncio.wait_for(_gates.setdefault(gate, asyncio.Event()).wait(), GATE_TIMEOUT)
    finally:
        _waiting[gate] -= 1


@_service(context=IApplication, name="@gate/{gate}", method="GET")
async def waiting_at_gate(context: Any, request: Any) -> int:
    """Return how many requests wait at a gate."""
    return _waiting[request.matchdict["gate"]]


@_service(context=IApplication, name="@gate/{gate}", method="POST")
async def open_gate(context: Any, request: Any) -> None:
    """Let the waiting requests go on, and all later ones."""
    _gates.setdefault(request.matchdict["gate"], asyncio.Event()).set()


@_service(context=IResource, name="@append/{gate}/{text}", method="POST")
async def append(context: Any, request: Any) -> None:
    """Append to the title that was read before the gate."""
    title = context.title
    await _wait_at(request.matchdict["gate"])
    context.title = title + request.matchdict["text"]
    context.register()


@_service(context=IResource, name="@move/{gate}/{new_id}", method="POST")
async def move_at_gate(context: Any, request: Any) -> None:
    """Rename the object, and wait before the commit."""
    await move(context, new_id=request.matchdict["new_id"])
    await _wait_at(request.matchdict["gate"])


# --- transactions that fail


@_service(context=IResource, name="@abort", method="POST")
async def abort(context: Any, request: Any) -> None:
    """Write, and fail before the commit."""
    context.title = "aborted"
    context.register()
    raise HTTPBadRequest(content={"reason": "as asked"})


@_service(context=IResource, name="@write-and-abort/{gate}", method="POST")
async def write_and_abort(context: Any, request: Any) -> None:
    """Send the write to the database, read it there in every way, wait, and abort; return what was read."""
    transaction = get_transaction()
    parent = context.__parent__
    context.title = "uncommitted"
    context.register()
    await transaction.tpc_commit()
    children = [child async for child in transaction.get_children(parent, [context.id])]
    seen = [
        (await transaction.get(context.__uuid__, ignore_registered=True)).title,
        (await transaction.get_child(parent, context.id, ignore_registered=True)).title,
        *(child.title for child in children),
    ]
    await _wait_at(request.matchdict["gate"])
    raise HTTPBadRequest(content={"seen": seen})


# --- content


@_service(context=IContainer, name="@record/{uid}", method="GET")
async def record(context: Any, request: Any) -> Any:
    """Return the id of the object with this uid, whether or not its ancestors still exist; 404 without one."""
    try:
        row = await get_transaction()._get(request.matchdict["uid"])
    except KeyError:
        raise HTTPNotFound() from None
    return row["id"]


@_service(context=IFolder, name="@titles", method="GET")
async def titles(context: Any, request: Any) -> Any:
    """Return the titles of all children, by id: a listing as add-ons make it."""
    return {child.id: child.title async for child in context.async_values()}


@_service(context=IFolder, name="@fill/{count}", method="POST")
async def fill(context: Any, request: Any) -> None:
    """Add items with the ids 0 to count - 1, and each id as title."""
    for number in map(str, range(int(request.matchdict["count"]))):
        await create_content_in_container(context, "Item", number, title=number)


@_service(context=IResource, name="@blob", method="PATCH")
async def set_blob(context: Any, request: Any) -> None:
    """Store bytes in the object's own state: `size` copies of every byte there is."""
    sizes = await request.json()
    context.blob = bytes(range(256)) * sizes["size"]
    context.register()


@_service(context=IResource, name="@blob", method="GET")
async def get_blob(context: Any, request: Any) -> str:
    """Return the SHA-256 of those bytes."""
    return hashlib.sha256(context.blob).hexdigest()


@_service(context=IResource, name="@annotation/{name}", method="POST")
async def set_annotation(context: Any, request: Any) -> None:
    """Give the object an annotation with the value of the body."""
    annotations = IAnnotations(context)
    name = request.matchdict["name"]
    data = await annotations.async_get(name)
    if data is None:
        data = AnnotationData()
        await annotations.async_set(name, data)
    data["value"] = await request.json()
    data.register()


@_service(context=IResource, name="@annotation/{name}", method="DELETE")
async def delete_annotation(context: Any, request: Any) -> None:
    """Take an annotation away."""
    await IAnnotations(context).async_del(request.matchdict["name"])


@_service(context=IResource, name="@annotations", method="GET")
async def annotations(context: Any, request: Any) -> Any:
    """Return the names of all annotations, with the values of those that `set_annotation` made."""
    found = IAnnotations(context)
    values = {}
    for name in sorted(await found.async_keys()):
        data = await found.async_get(name)
        values[name] = data.get("value")
    return values


@_service(context=IApplication, name="@metrics", method="GET")
async def metrics(context: Any, request: Any) -> Response:
    """Return what Prometheus scrapes."""
    from prometheus_client import generate_latest

    return Response(body=generate_latest(), content_type="text/plain")
