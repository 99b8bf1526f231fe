"""The `groupcache` section: its keys and defaults, sizes and times, and the off switch."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from guillotina_groupcache.settings.addresses import Address
from guillotina_groupcache.settings.model import NOWHERE, Secret, Settings
from guillotina_groupcache.settings.parser import ENABLED_VARIABLE, is_enabled, parse
from tests.unit.sections import SECRET, error, listens, peers, settings


@pytest.mark.parametrize(
    "section", [None, {}, dict.fromkeys(("listen", "advertise", "peers", "secret", "tls", "size", "ttl", "push"))]
)
def test_defaults(section: Any) -> None:
    found = parse(section, {})
    assert found == Settings()
    assert found.listen is None
    assert found.advertise is None
    assert found.peers is None
    assert found.secret is None
    assert found.tls is None
    assert found.size == 256_000_000
    assert found.ttl == 3600
    assert found.push is True
    assert not found.alone and not found.explicit


def test_the_section_of_the_manual() -> None:
    found = parse(
        {
            "listen": "127.0.0.1:9000",
            "peers": ["127.0.0.1:9000", "127.0.0.1:9001", "127.0.0.1:9002"],
            "secret": SECRET,
            "size": "256MB",
            "ttl": 3600,
            "push": True,
        },
        {},
    )
    assert listens(found) == ["127.0.0.1:9000"]
    assert peers(found) == ["127.0.0.1:9000", "127.0.0.1:9001", "127.0.0.1:9002"]
    assert found.secret is not None and found.secret.reveal() == SECRET
    assert not found.alone and found.explicit


def test_the_strings_of_the_environment() -> None:
    # guillotina.commands.get_settings: G_groupcache__size=1GiB and --override=groupcache.push=false
    strings = {"listen": " none ", "peers": " 127.0.0.1:1, [::1]:2 ,unix:/g,", "size": " 1GiB ", "ttl": "0"}
    found = settings(**strings, push="false", secret=f" {SECRET} ")
    assert found == Settings(
        listen=NOWHERE,
        peers=tuple(map(Address.parse, ("127.0.0.1:1", "[::1]:2", "unix:/g"))),
        secret=Secret(SECRET),
        size=2**30,
        ttl=0,
        push=False,
        explicit=True,
    )
    assert settings(listen="", peers="").alone
    assert settings(peers=" None ").alone
    assert settings(peers=" Database ").peers is None
    assert settings(advertise=" none ").advertise is None


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().size = 5  # type: ignore[misc]


# Size, ttl and push


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (1_000_000, 10**6),
        ("1000000", 10**6),
        ("1000KB", 10**6),
        ("1MB", 10**6),
        ("1mb", 10**6),
        ("1 MB", 10**6),
        ("1.5GB", 1_500_000_000),
        ("0.3GB", 300_000_000),
        ("1000KiB", 1000 * 2**10),
        ("1MiB", 2**20),
        ("2GiB", 2**31),
        ("1024GiB", 2**40),
    ],
)
def test_size(value: Any, size: int) -> None:
    assert settings(size=value).size == size


@pytest.mark.parametrize("value", ["lots", "", "MB", "-1MB", "1TB", "1e9", "1,5GB", "١MB", True, 1e9, [1]])
def test_what_is_not_a_size(value: Any) -> None:
    allowed = "give bytes or a number with KB, MB, GB, KiB, MiB or GiB"
    assert error({"size": value}) == f"groupcache.size: {value!r} is not a size: {allowed}"


@pytest.mark.parametrize("value", [0, -1, 999_999, "999KB", "0", "1025GiB", 2**64, "9" * 15 + "GB"])
def test_a_size_out_of_range(value: Any) -> None:
    assert error({"size": value}) == f"groupcache.size: {value!r} is out of range: give 1MB to 1024GiB"


@pytest.mark.parametrize(
    ("value", "ttl"), [(0, 0), (60, 60), ("60", 60), (0.5, 0.5), ("0.5", 0.5), (31536000, 31536000)]
)
def test_ttl(value: Any, ttl: float) -> None:
    assert settings(ttl=value).ttl == ttl


@pytest.mark.parametrize("value", [-1, "-1", "soon", "", True, 31536001, 10**400, "inf", float("nan"), [60]])
def test_what_is_not_a_ttl(value: Any) -> None:
    message = error({"ttl": value})
    assert message.startswith("groupcache.ttl: ") and repr(value)[:100] in message
    assert message.endswith(" is not a time: give seconds from 0 (no limit) to 31536000 (a year)")


@pytest.mark.parametrize("value", [True, "true", "True", "yes", "on", "1", 1])
def test_push(value: Any) -> None:
    assert settings(push=value).push is True


@pytest.mark.parametrize("value", [False, "false", "FALSE", "no", "off", "0", 0])
def test_no_push(value: Any) -> None:
    assert settings(push=value).push is False


@pytest.mark.parametrize("value", ["maybe", "", 2, []])
def test_what_is_not_a_push(value: Any) -> None:
    assert error({"push": value}) == f"groupcache.push: {value!r} is not a boolean: give true or false"


# The section as a whole


def test_unknown_keys() -> None:
    allowed = "known are enabled, listen, advertise, peers, secret, tls, size, ttl, push"
    assert error({"sise": 1}) == f"groupcache: 'sise' is not a known key (did you mean size?): {allowed}"
    assert error({"driver": None}) == f"groupcache: 'driver' is not a known key: {allowed}"
    assert error({5: 1}) == f"groupcache: 5 is not a known key: {allowed}"


@pytest.mark.parametrize("section", [SECRET, [SECRET], True])
def test_what_is_not_a_section_is_not_shown(section: Any) -> None:
    kind = type(section).__name__
    allowed = "give a mapping of enabled, listen, advertise, peers, secret, tls, size, ttl, push"
    assert error(section) == f"groupcache: a {kind} is not a section: {allowed}"


# The off switch


@pytest.mark.parametrize("value", [False, "false", " No ", "off", 0, "0"])
def test_switched_off(value: Any) -> None:
    assert not is_enabled({"enabled": value}, {})
    assert settings(enabled=value) == Settings(enabled=False)
    assert parse(None, {ENABLED_VARIABLE: str(value)}) == Settings(enabled=False)


@pytest.mark.parametrize("value", [True, "true", "Yes", " on", 1, "1"])
def test_switched_on(value: Any) -> None:
    assert settings(enabled=value) == settings(enabled=None) == Settings()


def test_the_environment_overrides_the_file() -> None:
    assert not is_enabled({"enabled": True}, {ENABLED_VARIABLE: "false"})
    assert settings({ENABLED_VARIABLE: "true"}, enabled=False, size="1MB") == Settings(size=10**6)
    assert not is_enabled({"enabled": False}, {ENABLED_VARIABLE: ""}), "an empty variable does not count"


@pytest.mark.parametrize("section", [{"size": "many"}, {"peer": []}, ["listen"], "none", {"secret": "short"}])
def test_what_is_switched_off_need_not_be_right(section: Any) -> None:
    assert parse(section, {ENABLED_VARIABLE: "false"}) == Settings(enabled=False)
    error(section)


def test_an_unclear_switch() -> None:
    assert error({"enabled": "maybe"}) == "groupcache.enabled: 'maybe' is not a boolean: give true or false"
    assert error({}, {ENABLED_VARIABLE: "2"}) == f"{ENABLED_VARIABLE}: '2' is not a boolean: give true or false"
