"""A Guillotina add-on for the tests: it reads objects from the cache, and nothing else on the way to them."""

from __future__ import annotations

from typing import Any

from guillotina import app_settings, configure
from guillotina.component import get_utility
from guillotina.interfaces import IApplication

from guillotina_groupcache import keys
from guillotina_groupcache.interfaces import IGroupcacheUtility
from guillotina_groupcache.keys import Kind


@configure.service(context=IApplication, name="@cached/{uids}", method="GET", permission="guillotina.Manage")
async def cached(context: Any, request: Any) -> list[tuple[str, str]]:
    """Return title and source of the objects with these uids, which commas separate."""
    utility = get_utility(IGroupcacheUtility)
    found = []
    for uid in request.matchdict["uids"].split(","):
        value, source = await utility.reads.get(keys.encode("db", Kind.OBJECT, uid))
        found.append((app_settings["object_reader"](value).title, source.name))
    return found
