"""Inside of a node: the keys that Guillotina reads, in order, and the sizes of their values."""

from __future__ import annotations

from typing import Any

from guillotina.component import get_utility

from benchmarks.lib import agent

#: Bytes that the store keeps besides a value and its key.
OVERHEAD = 80

_reads: list[bytes] = []


async def record() -> None:
    """Begin to record."""
    from guillotina_groupcache import keys
    from guillotina_groupcache.strategy import GroupcacheStrategy

    get, get_children = GroupcacheStrategy.get, GroupcacheStrategy.get_children

    async def recorded_get(self: Any, **arguments: Any) -> Any:
        key = keys.from_cache_arguments(agent.DATABASE, **arguments)
        if key is not None:
            _reads.append(key)
        return await get(self, **arguments)

    async def recorded_get_children(self: Any, parent: Any, ids: Any) -> Any:
        ids = list(ids)
        _reads.extend(keys.encode(agent.DATABASE, keys.Kind.CHILD, parent.__uuid__, id_) for id_ in ids)
        async for child in get_children(self, parent, ids):
            yield child

    GroupcacheStrategy.get = recorded_get  # type: ignore[method-assign, assignment]
    GroupcacheStrategy.get_children = recorded_get_children  # type: ignore[method-assign]


async def recorded() -> list[tuple[int, int]]:
    """Return each read as the number of its key and the bytes of its entry."""
    from guillotina_groupcache.interfaces import IGroupcacheUtility

    utility: Any = get_utility(IGroupcacheUtility)
    numbers: dict[bytes, tuple[int, int]] = {}
    for key in _reads:
        if key not in numbers:
            found: Any = utility._node.get(key)
            size = 0 if isinstance(found, int) else len(found.value)
            numbers[key] = (len(numbers), size + len(key) + OVERHEAD)
    return [numbers[key] for key in _reads]
