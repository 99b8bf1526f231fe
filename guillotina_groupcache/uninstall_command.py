"""`guillotina groupcache-uninstall`: removes everything that the add-on has made in the databases."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from guillotina.commands import Command, get_settings

from guillotina_groupcache.database import uninstall
from guillotina_groupcache.interfaces import GroupcacheError


class UninstallCommand(Command):
    """Exits with 0 when nothing is left, and with 1 and a line that says why when something is.

    No application is started: it would join the cluster, and make again what is to be removed.
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
    """Check all schemas first: where somebody still uses one database, nothing is removed from the others."""
    schemas, others = uninstall.schemas(settings)
    for schema in schemas:
        async with uninstall.opened(schema) as connection:
            await uninstall.check(connection, schema)
    for schema in schemas:
        async with uninstall.opened(schema) as connection:
            removed = await uninstall.remove(connection, schema)
        name = ", ".join(schema.ids)
        for what in removed or ["nothing: the cache has made nothing there"]:
            print(f"{name}: removed {what}")
    for other in others:
        print(f"{other}: removed nothing: it is not PostgreSQL")
