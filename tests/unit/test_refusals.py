"""Guillotina's settings that are wrong beside this cache (R15): one line with the key, the value and the remedy."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

import guillotina_groupcache
from guillotina_groupcache.interfaces import ConfigurationError
from guillotina_groupcache.settings.refusals import check

OTHER = "guillotina.contrib.cache"
OURS = "guillotina_groupcache"
OFF = "or give groupcache: {enabled: false} to have no cache"
UTILITIES = guillotina_groupcache.app_settings["load_utilities"]
CONTRIB = {
    "guillotina_cache": {
        "provides": "guillotina.interfaces.ICacheUtility",
        "factory": "guillotina.contrib.cache.utility.CacheUtility",
        "settings": {},
    }
}


def settings(applications: list[str], cache: Any = "groupcache", utilities: Any = None) -> dict[str, Any]:
    """Guillotina's settings; `cache` is a strategy, or the whole section if it is not a string."""
    section = {"strategy": cache} if isinstance(cache, str) else cache
    return {"applications": applications, "cache": section, "load_utilities": utilities or UTILITIES}


def refused(settings: dict[str, Any], environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check(settings, environ or {})
    message = str(caught.value)
    assert "\n" not in message and message.endswith(OFF)
    return message.removesuffix(f", {OFF}")


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's own add-on that requires guillotina.contrib.cache."""
    module = ModuleType("somebodys_package")
    module.app_settings = {"applications": [OTHER]}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_nothing_is_wrong() -> None:
    check(settings(["guillotina", OURS]), {})
    check(settings(["guillotina", OURS], {"strategy": "groupcache", "ttl": 5}), {"G_cache__strategy": "groupcache"})


def test_another_application_comes_after_this_one(package: str) -> None:
    expected = f"cache.strategy: 'basic' is in force instead of 'groupcache', by {OTHER}, which comes after {OURS} in"
    for applications in (["guillotina", OURS, OTHER], [OURS, package]):
        for environ in ({}, {"G_cache__strategy": "basic"}):
            message = refused(settings(applications, "basic"), environ)
            assert message == f"{expected} applications: take {OTHER} out of them"


@pytest.mark.parametrize("strategy", ["basic", "dummy", "", "somebody's"])
def test_the_configuration_says_another_strategy(strategy: str) -> None:
    message = refused(settings([OURS], strategy), {"G_cache__ttl": strategy, "g_cache": "{not JSON"})
    found = f"cache.strategy: {strategy!r} is in force instead of 'groupcache'"
    assert message == f"{found}, by the configuration: take cache.strategy out of it"


def test_the_configuration_says_no_strategy() -> None:
    assert refused(settings([OURS], {"strategy": None})).startswith("cache.strategy: None is in force instead of")
    for section in (None, [], 5):
        assert refused(settings([OURS], section)).startswith(f"cache: {section!r} is not a section: take it out of")


@pytest.mark.parametrize(
    ("name", "value"),
    [("G_cache__strategy", "basic"), ("g_CACHE__strategy", "basic"), ("G_cache", '{"strategy": "basic"}')],
)
def test_the_environment_says_another_strategy(name: str, value: str) -> None:
    message = refused(settings([OURS, "guillotina"], "basic"), {"G_cache__ttl": "basic", name: value})
    assert message.endswith(f", by the environment variable {name}: unset it")


@pytest.mark.parametrize("own", [None, {**UTILITIES[OURS], "factory": "a.b"}, {**UTILITIES[OURS], "provides": "a.b"}])
def test_the_utility_is_not_the_addons(own: Any) -> None:
    message = refused(settings([OURS], utilities={OURS: own}))
    assert message.startswith(f"load_utilities.{OURS}: ")
    assert message.endswith(" differs from the add-on's own: take the key out of the configuration")


def test_the_utility_is_gone() -> None:
    assert refused({**settings([OURS]), "load_utilities": None}).startswith(f"load_utilities.{OURS}: None differs")
    check(settings([OURS], utilities={OURS: {**UTILITIES[OURS], "settings": {"of": "somebody's own"}}}), {})


def test_another_cache_answers_for_this_one(package: str) -> None:
    """A caller that clears or invalidates by `ICacheUtility` would do so in a cache that nobody reads."""
    both = {**UTILITIES, **CONTRIB}
    found = "load_utilities.guillotina_cache: 'guillotina.contrib.cache.utility.CacheUtility' is another cache, which"
    for applications in ([OTHER, OURS], [package, OURS]):
        message = refused(settings(applications, utilities=both))
        assert message.startswith(found) and message.endswith(f": take {OTHER} out of applications")
    assert refused(settings([OURS], utilities=both)).endswith(": take the key out of the configuration")
    check(settings([OURS], utilities={**UTILITIES, "named": {**CONTRIB["guillotina_cache"], "name": "other"}}), {})
