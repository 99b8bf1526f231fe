"""`GET @cache-stats` and `POST @cache-clear`, at the root and on a container.

The manager of a container need not know how the site is run: where its processes are, what else writes to its
databases, what these are called. So the root, whose users are the site's, shows everything, and a container, whose
users may be its own, shows the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from guillotina import configure
from guillotina.component import get_utility
from guillotina.interfaces import IApplication, IContainer
from guillotina.response import HTTPPreconditionFailed

from guillotina_groupcache.interfaces import IGroupcacheUtility
from guillotina_groupcache.settings.role import is_enabled

_OFF: Final = "the cache of this process is switched off (groupcache.enabled)"
_STATS: Final[dict[str, Any]] = {
    "name": "@cache-stats",
    "method": "GET",
    "permission": "guillotina.CacheManage",
    "parameters": [{"in": "query", "name": "cluster", "required": False, "schema": {"type": "boolean"}}],
    "responses": {"200": {"description": "The statistics"}},
}
_CLEAR: Final[dict[str, Any]] = {
    "name": "@cache-clear",
    "method": "POST",
    "permission": "guillotina.CacheManage",
    "summary": "Drop everything from the whole cluster's cache",
    "responses": {
        "200": {"description": "Nothing that was cached before is served any more"},
        "412": {"description": "The cache of this process is switched off"},
    },
}


@configure.service(
    context=IApplication,
    summary="Statistics of this process' cache; with ?cluster=true, of every peer's too",
    **_STATS,
)
async def cache_stats(context: Any, request: Any) -> Any:
    """The statistics that docs/operating.rst explains."""
    if not is_enabled():
        return {"enabled": False, "reason": _OFF}
    cluster = str(request.query.get("cluster", "")).lower() in ("true", "1", "yes", "on")
    return await get_utility(IGroupcacheUtility).get_stats(cluster)


@configure.service(
    context=IContainer,
    summary="The numbers among the statistics of this process' cache; with ?cluster=true, of every peer's too",
    **_STATS,
)
async def cache_numbers(context: Any, request: Any) -> Any:
    """The same without texts and lists."""
    stats = await cache_stats(context, request)
    if not is_enabled():
        return stats
    found = numbers(stats)
    if "peers" in stats:
        found["peers"] = [{"error": "no answer"} if "error" in peer else numbers(peer) for peer in stats["peers"]]
    return found


def numbers(stats: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers in the statistics, at any depth: a text that is added later is not shown by accident."""
    found: dict[str, Any] = {}
    for name, value in stats.items():
        if isinstance(value, (int, float)):  # a boolean is one
            found[name] = value
        elif isinstance(value, Mapping):
            found[name] = numbers(value)
    return found


@configure.service(context=IApplication, **_CLEAR)
@configure.service(context=IContainer, **_CLEAR)
async def cache_clear(context: Any, request: Any) -> Any:
    """One event over all buckets, however much is cached."""
    if not is_enabled():
        raise HTTPPreconditionFailed(content={"reason": f"{_OFF}: nothing was dropped, ask another process"})
    await get_utility(IGroupcacheUtility).clear()
    return {"success": True}
