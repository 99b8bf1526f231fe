"""`groupcache` sections for the tests of settings."""

from __future__ import annotations

from typing import Any

import pytest

from guillotina_groupcache.interfaces import ConfigurationError, GroupcacheError
from guillotina_groupcache.settings.model import Settings
from guillotina_groupcache.settings.parser import parse

SECRET = "correct horse battery staple"
TLS = {"cert": "/etc/g/cert.pem", "key": "/etc/g/key.pem", "ca": "/etc/g/ca.pem"}


def settings(environ: dict[str, str] | None = None, **section: Any) -> Settings:
    return parse(section, environ or {})


def listens(found: Settings) -> list[str]:
    assert found.listen is not None
    return [str(address) for address in found.listen.addresses]


def peers(found: Settings) -> list[str]:
    assert found.peers is not None
    return [str(peer) for peer in found.peers]


def error(section: Any, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(section, environ or {})
    message = str(caught.value)
    assert "\n" not in message
    assert isinstance(caught.value, GroupcacheError) and isinstance(caught.value, ValueError)
    return message
