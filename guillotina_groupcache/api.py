"""`GET @cache-stats` and `POST @cache-clear` on the container."""

from __future__ import annotations

from typing import Any, Final

from guillotina import configure
from guillotina.component import get_utility
from guillotina.interfaces import IContainer
from guillotina.response import HTTPPreconditionFailed

from guillotina_groupcache.interfaces import IGroupcacheUtility
from guillotina_groupcache.process import is_enabled

_OFF: Final = "the cache of this process is switched off (groupcache.enabled)"


@configure.service(
    context=IContainer,
    name="@cache-stats",
    method="GET",
    permission="guillotina.CacheManage",
    summary="Statistics of this process' cache; with ?cluster=true, of every peer's too",
    parameters=[{"in": "query", "name": "cluster", "required": False, "schema": {"type": "boolean"}}],
    responses={"200": {"description": "The statistics"}},
)
async def cache_stats(context: Any, request: Any) -> Any:
    """The counters that docs/operating.rst explains."""
    if not is_enabled():
        return {"enabled": False, "because": _OFF}
    cluster = str(request.query.get("cluster", "")).lower() in ("true", "1", "yes", "on")
    return await get_utility(IGroupcacheUtility).get_stats(cluster)


@configure.service(
    context=IContainer,
    name="@cache-clear",
    method="POST",
    permission="guillotina.CacheManage",
    summary="Rename everything in the whole cluster's cache",
    responses={
        "200": {"description": "Nothing that was cached before is served any more"},
        "412": {"description": "The cache of this process is switched off"},
    },
)
async def cache_clear(context: Any, request: Any) -> Any:
    """One event over all buckets, however much is cached."""
    if not is_enabled():
        raise HTTPPreconditionFailed(content={"reason": f"{_OFF}: nothing was renamed, ask another process"})
    await get_utility(IGroupcacheUtility).clear()
    return {"success": True}
