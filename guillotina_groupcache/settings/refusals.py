"""Guillotina's settings that are wrong beside this cache (R15), found before a database is opened.

Each of these would start without an error and then serve old objects: another cache strategy, for one, hears of no
other process' writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from guillotina import app_settings
from guillotina.interfaces import ICacheUtility
from guillotina.utils import resolve_dotted_name

from guillotina_groupcache.display import shown
from guillotina_groupcache.interfaces import ConfigurationError

ADDON: Final = "guillotina_groupcache"
STRATEGY: Final = "groupcache"

_OFF: Final = "or give groupcache: {enabled: false} to have no cache"


def check(settings: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Refuse another cache that is in force instead of this one, or beside it.

    `settings` are Guillotina's after all applications are configured. Raises `ConfigurationError`: one line with the
    key, the value, the cause where it is known, and the remedy.
    """
    _check_strategy(settings, environ)
    _check_utilities(settings)


def _check_strategy(settings: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    section = settings.get("cache")
    if not isinstance(section, Mapping):
        raise ConfigurationError(f"cache: {shown(section)} is not a section: take it out of the configuration, {_OFF}")
    found = section.get("strategy")
    if found == STRATEGY:
        return
    cause, remedy = _cause(found, settings, environ)
    raise ConfigurationError(
        f"cache.strategy: {shown(found)} is in force instead of {STRATEGY!r}, by {cause}: {remedy}, {_OFF}"
    )


def _cause(found: object, settings: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, str]:
    """What has set a strategy, and the remedy."""
    by_application = None
    for name, theirs in _sections(list(settings.get("applications") or ()), "cache"):
        if "strategy" in theirs:
            by_application = name, theirs["strategy"]
    if by_application is not None and by_application[1] == found:
        name = by_application[0]
        return f"{name}, which comes after {ADDON} in applications", f"take {name} out of them"
    for name in environ:
        if name.lower() in ("g_cache", "g_cache__strategy") and _says(environ[name], found):
            return f"the environment variable {name}", "unset it"
    return "the configuration", "take cache.strategy out of it"


def _says(value: str, strategy: object) -> bool:
    if not value.startswith("{"):
        return value == strategy
    try:
        return bool(json.loads(value).get("strategy") == strategy)
    except ValueError:
        return False


def _sections(applications: list[Any], key: str, configured: set[str] | None = None) -> Iterator[tuple[str, Any]]:
    """The sections that applications have under a key, in the order in which Guillotina configures the applications.

    An application comes after those that it requires.
    """
    configured = set() if configured is None else configured
    for application in applications:
        if application in configured:
            continue
        configured.add(application)
        theirs = getattr(resolve_dotted_name(application), "app_settings", {})
        if theirs is app_settings:
            continue  # Guillotina's own module: this attribute is the settings of all applications together
        yield from _sections(list(theirs.get("applications") or ()), key, configured)
        if isinstance(theirs.get(key), Mapping):
            yield str(application), theirs[key]


def _check_utilities(settings: Mapping[str, Any]) -> None:
    """Refuse settings by which Guillotina would not shut this cache down, or its API would not find it."""
    found = settings.get("load_utilities")
    utilities = dict(found) if isinstance(found, Mapping) else {}
    ours, own = resolve_dotted_name(ADDON).app_settings["load_utilities"][ADDON], utilities.pop(ADDON, None)
    if not isinstance(own, Mapping) or any(own.get(key) != ours[key] for key in ("provides", "factory")):
        problem = "differs from the add-on's own: take the key out of the configuration"
        raise ConfigurationError(f"load_utilities.{ADDON}: {shown(own)} {problem}, {_OFF}")
    for name, utility in utilities.items():
        unnamed = isinstance(utility, Mapping) and not utility.get("name")
        if unnamed and resolve_dotted_name(utility.get("provides")) is ICacheUtility:
            problem = "is another cache, which a look-up of ICacheUtility would find"
            raise ConfigurationError(
                f"load_utilities.{name}: {shown(utility.get('factory'))} {problem}: {_remedy(name, settings)}, {_OFF}"
            )


def _remedy(name: str, settings: Mapping[str, Any]) -> str:
    for application, theirs in _sections(list(settings.get("applications") or ()), "load_utilities"):
        if name in theirs:
            return f"take {application} out of applications"
    return "take the key out of the configuration"
