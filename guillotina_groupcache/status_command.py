"""`guillotina groupcache-status`: the members, their states, versions and shares of hits, and what is wrong."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any, Final

from guillotina.commands import Command
from guillotina.component import query_utility

from guillotina_groupcache import status
from guillotina_groupcache.interfaces import GroupcacheError, IGroupcacheUtility
from guillotina_groupcache.settings.parser import ENABLED_VARIABLE
from guillotina_groupcache.settings.role import is_enabled

#: Seconds within which the members that seem to be alive must be connected; then those that are not count as wrong.
PATIENCE: Final = 5.0

RIGHT, WRONG, UNKNOWN = 0, 1, 2


class StatusCommand(Command):
    """Exits with 0 when nothing is wrong, with 1 when something is, with 2 when it could not find out."""

    description = "Show the members of the cache, and what is wrong"
    status = UNKNOWN

    def get_parser(self) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser()  # type: ignore[no-untyped-call]
        parser.add_argument("--json", action="store_true", help="print JSON")
        return parser

    def run_command(self, settings: Any = None, loop: Any = None) -> None:
        try:
            super().run_command(settings, loop)  # type: ignore[no-untyped-call]
        except SystemExit as refusal:
            print(refusal, file=sys.stderr)
        except Exception as error:
            print(f"groupcache-status: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(self.status)

    async def run(self, arguments: argparse.Namespace, settings: Any, app: Any) -> None:
        """Ask the members, print the report, and keep the exit status."""
        if not is_enabled():
            raise GroupcacheError(f"the cache is switched off here: {ENABLED_VARIABLE}=true shows the other processes")
        utility = query_utility(IGroupcacheUtility)
        stats = utility.local_stats() if utility is not None else {}
        if not stats or utility.is_alone:
            raise GroupcacheError(
                "there is no cluster to ask: with this configuration a process is alone, or has no cache"
            )
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not _is_connected(utility.local_stats()) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
        shown = status.report(await utility.get_stats(cluster=True))
        print(json.dumps(shown, indent=1) if arguments.json else status.table(shown))
        self.status = WRONG if shown["wrong"] else RIGHT


def _is_connected(stats: dict[str, Any]) -> bool:
    """Whether this process is connected to all members that seem to be alive."""
    alive = [member for member in stats["members"] if member["state"] == "in" and not member["overdue"]]
    return bool(alive) and all(member["connected"] for member in alive if member["address"])
