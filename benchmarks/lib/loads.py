"""Inside of a node: how often it loads objects from the database, by the calls of Guillotina's storage."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any, Final

from guillotina.db.storages.pg import PostgresqlStorage

_METHODS: Final = ("load", "get_child", "get_children", "get_annotation")
_counts: Counter[str] = Counter()


async def count(name: str | None = None) -> int:
    """Return how many objects were loaded since the first call: all, or those with this id or object id."""
    for method_name in _METHODS:
        method = getattr(PostgresqlStorage, method_name)
        if not hasattr(method, "__wrapped__"):
            setattr(PostgresqlStorage, method_name, _counted(method))
    return sum(_counts.values()) if name is None else _counts[name]


def _counted(method: Any) -> Any:
    @functools.wraps(method)
    async def counted(self: Any, txn: Any, *arguments: Any) -> Any:
        names = arguments[-1]
        _counts.update(names if isinstance(names, list) else [names])
        return await method(self, txn, *arguments)

    return counted
