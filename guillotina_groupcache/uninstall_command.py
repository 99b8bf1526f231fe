"""`guillotina groupcache-uninstall`: everything that the add-on has made in the databases is removed."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from guillotina.commands import Command, get_settings

from guillotina_groupcache.database import uninstall
from guillotina_groupcache.interfaces import GroupcacheError


class UninstallCommand(Command):
    """Ends with 0 when nothing is left, with 1 when it has removed not everything, which a line explains.

    No application is started: it would join the cluster, and make what is to be removed.
    """

    description = "Remove what the cache has made in the databases: triggers, functions and tables"

    def run_command(self, settings: Any = None, loop: Any = None) -> None:
        if settings is None:
            settings = get_settings(self.arguments.configuration, self.arguments.override)
        try:
            asyncio.run(_uninstall(settings))
        except GroupcacheError as error:
            sys.exit(f"groupcache-uninstall: {error}")


async def _uninstall(settings: Any) -> None:
    """Look everywhere first: where somebody still uses one database nothing is removed from the others."""
    places, others = uninstall.places(settings)
    for place in places:
        async with uninstall.opened(place) as connection:
            await uninstall.check(connection, place)
    for place in places:
        async with uninstall.opened(place) as connection:
            removed = await uninstall.remove(connection, place)
        name = ", ".join(place.ids)
        for what in removed or ["nothing: there is nothing of the cache"]:
            print(f"{name}: removed {what}")
    for other in others:
        print(f"{other}: removed nothing: it is no PostgreSQL")
