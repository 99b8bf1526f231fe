"""What the library has finished, or asks of Python, goes to the part of this process that waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from guillotina_groupcache.constants import CompletionKind
from guillotina_groupcache.database.loader import Loader
from guillotina_groupcache.display import printable
from guillotina_groupcache.native import Completion, Node
from guillotina_groupcache.requests import Requests
from guillotina_groupcache.wire import unpack

logger = logging.getLogger("guillotina_groupcache")

#: Characters of a line that the library logs: a line about a panic has the stack.
MAX_LINE: Final = 16_384

_VALUES: Final = CompletionKind.VALUES


class Completions:
    """Hands out the completions of one node, and loads the keys that it asks for."""

    def __init__(
        self, requests: Requests, announcements: Requests, loader: Loader, query: Callable[[int, dict[str, Any]], None]
    ) -> None:
        """`query` is called with the number and the fields of each database query."""
        self._requests = requests
        self._announcements = announcements
        self._loader = loader
        self._query = query
        self._node: Node | None = None
        self._loads: set[asyncio.Task[None]] = set()

    def begin(self, node: Node) -> None:
        """Drain this node from now on."""
        self._node = node

    def end(self) -> None:
        """Drain no node, and answer no load any more."""
        self._node = None

    def drain(self) -> None:
        """Take all completions that wait."""
        if self._node is not None:
            self.take(self._node.drain())

    def take(self, completions: Iterable[Completion]) -> None:
        """Hand these completions out."""
        for kind, number, payload in completions:
            if kind is _VALUES or kind is CompletionKind.PEER_STATS:
                self._requests.answer(number, payload)
            elif kind is CompletionKind.LOAD:
                load = asyncio.ensure_future(self._load(number, unpack(payload)))
                self._loads.add(load)
                load.add_done_callback(self._loads.discard)
            elif kind is CompletionKind.CLEARED:
                self._announcements.answer(number, None)
            elif kind is CompletionKind.DATABASE_QUERY:
                self._query(number, msgspec.json.decode(payload))
            elif kind is CompletionKind.LOG:
                level, _, text = payload.decode(errors="replace").partition("\0")
                # Peers can cause a part of the text: it must stay one line.
                logger.log(logging.getLevelName(level.upper()), "groupcache: %s", printable(text[:MAX_LINE]))

    async def _load(self, number: int, wanted: Sequence[bytes]) -> None:
        node = self._node
        try:
            values = await self._loader.load(wanted)
        except Exception as error:
            logger.exception("groupcache: load of %d keys", len(wanted))
            if node is self._node and node is not None:
                node.load_failed(number, repr(error))
            return
        if node is self._node and node is not None:
            node.loaded(number, values)

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel the loads in flight; the caller waits for the tasks that are returned."""
        loads = list(self._loads)
        for load in loads:
            load.cancel()
        return loads
