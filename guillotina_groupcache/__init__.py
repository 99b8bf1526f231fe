"""A shared object cache for Guillotina: the memory of all its processes as one cache, by groupcache.

Importing this package loads no library and starts nothing; `utility` does when the first database is there.
"""

from __future__ import annotations

from typing import Any

from guillotina import configure

app_settings: dict[str, Any] = {
    "cache": {"strategy": "groupcache"},
    "commands": {
        "groupcache-status": "guillotina_groupcache.status_command.StatusCommand",
        "groupcache-uninstall": "guillotina_groupcache.uninstall_command.UninstallCommand",
    },
    "load_utilities": {
        "guillotina_groupcache": {
            "provides": "guillotina_groupcache.interfaces.IGroupcacheUtility",
            "factory": "guillotina_groupcache.startup.current_or_new",
            "settings": {},
        }
    },
}


def includeme(root: Any, settings: Any) -> None:
    """Register the package's components; Guillotina calls this while it configures the application."""
    for module in ("api", "startup", "strategy", "vacuum"):
        configure.scan(f"guillotina_groupcache.{module}")
