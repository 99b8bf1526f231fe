"""How values are read: from this process' memory, wherever the library finds them, or past the cache (R2, R4)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

from guillotina_groupcache import records
from guillotina_groupcache.constants import Missed, Source
from guillotina_groupcache.database.loader import SharedLoads
from guillotina_groupcache.interfaces import GroupcacheError, RecordError
from guillotina_groupcache.native import Found, Node
from guillotina_groupcache.near_cache import NearCache, Slot
from guillotina_groupcache.requests import Requests
from guillotina_groupcache.throttled import Throttled
from guillotina_groupcache.wire import unpack_result, unpack_results

logger = logging.getLogger("guillotina_groupcache")
_throttled: Final = Throttled(logger)

# Reads compare with these: looking up a member in its class would run Python code of the module enum.
_BYPASS: Final = Missed.BYPASS
_NOWHERE: Final = Source.NOWHERE


class Reads:
    """The reads of one process; before `begin` and after `end` they find nothing."""

    def __init__(self, requests: Requests, bypass_loads: SharedLoads) -> None:
        self.near = NearCache(memoryview(b""), 0)
        self._node: Node | None = None
        self._requests = requests
        self._bypass_loads = bypass_loads

    def begin(self, node: Node, near_size: int) -> None:
        """Read from now on; `near_size` are the bytes of the near cache."""
        self._node = node
        self.near = NearCache(node.table, near_size)

    def end(self) -> None:
        """Find nothing any more. Reads in flight go on until `Requests.end`."""
        self._node = None
        self.near.clear()

    async def get(self, key: bytes, slot: Slot | None = None) -> tuple[Any, Source]:
        """The value of a key as the database held it at an instant of this call, and where it came from.

        It may be `records.ABSENT` or `records.TOO_LARGE`. With `Source.NOWHERE` there is no value: the caller reads the
        database, which raises what there is to raise. A value from this process' memory is kept in the near cache, at
        `slot`.
        """
        node = self._node
        if node is None:
            return None, _NOWHERE
        number = self._requests.number()
        found = node.get(key, number)
        if type(found) is Found:
            return self._kept(found, slot)
        if found is _BYPASS:
            return await self._bypass(key)
        try:
            # The library answers every request within 30 s (`loadTimeout`), and `finalize` ends those that wait.
            source, data = unpack_result(await self._requests.expect(number))
        except GroupcacheError:
            return None, _NOWHERE
        finally:
            self._requests.forget(number)
        return _decoded(source, data)

    def find(self, key: bytes, slot: Slot | None = None) -> tuple[Any, Source]:
        """As `get`, from this process' memory alone: `Source.NOWHERE` if the value is not there, or in doubt."""
        found = None if self._node is None else self._node.get(key)
        return self._kept(found, slot) if type(found) is Found else (None, _NOWHERE)

    def _kept(self, found: Found, slot: Slot | None) -> tuple[Any, Source]:
        value, source = _decoded(found.source, found.value)
        return value if slot is None else self.near.keep(slot, value, found), source

    async def _bypass(self, key: bytes) -> tuple[Any, Source]:
        try:
            value = await self._bypass_loads.get(key)
            # Rows cannot be changed, but lists can: each reader gets its own.
            return list(value) if isinstance(value, list) else value, Source.BYPASS
        except Exception as error:
            # Guillotina's own load follows, and its exception is the user's.
            logger.debug("groupcache: bypass failed: %r", error)
            return None, _NOWHERE

    async def get_many(
        self, wanted: Sequence[bytes], slots: Sequence[Slot | None] | None = None, wait: bool = True
    ) -> list[tuple[Any, Source]]:
        """As `get`, for many keys: one request to each peer, one query for what no process has.

        Without `wait` it finds what is in this process' memory, as `find` does.
        """
        node = self._node
        values: list[tuple[Any, Source]] = [(None, _NOWHERE)] * len(wanted)
        if node is None:
            return values
        missing = []
        for i, (key, slot) in enumerate(zip(wanted, slots or repeat(None), strict=False)):
            found = node.get(key)
            if isinstance(found, Found):
                values[i] = self._kept(found, slot)
            elif found is not _BYPASS and wait:
                missing.append(i)
        if missing:
            for i, value in zip(missing, await self._read(node, [wanted[i] for i in missing]), strict=True):
                values[i] = value
        return values

    async def _read(self, node: Node, wanted: Sequence[bytes]) -> list[tuple[Any, Source]]:
        number, waiter = self._requests.new()
        try:
            node.read(number, wanted)
            results = unpack_results(await waiter)
        except GroupcacheError:
            return [(None, _NOWHERE)] * len(wanted)
        finally:
            self._requests.forget(number)
        return [_decoded(source, data) for source, data in results]

    async def warm(self, wanted: Sequence[bytes]) -> None:
        """Fetch keys into this process' memory at once, for reads that follow one by one."""
        node = self._node
        if node is None:
            return
        number, waiter = self._requests.new()
        try:
            if node.warm(number, wanted):
                await waiter
        except GroupcacheError as error:
            logger.debug("groupcache: not warmed: %s", error)
        finally:
            self._requests.forget(number)

    def version(self, key: bytes) -> int | None:
        """The version that a key has now (`Node.version`); None while it is read from the database."""
        return None if self._node is None else self._node.version(key)


def _decoded(source: Source, data: bytes) -> tuple[Any, Source]:
    if source is _NOWHERE:
        return None, _NOWHERE
    try:
        return records.decode(data), source
    except RecordError as error:
        # A peer of another version may write a form that this one does not know: users must not notice.
        _throttled.warning("value", "groupcache: a cached value was not used: %s", error)
        return None, _NOWHERE
