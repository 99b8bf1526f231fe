"""The `groupcache` section of Guillotina's settings: its keys, their defaults, and what is allowed.

Guillotina takes settings from a file, from `--override` and from the environment (`G_groupcache__size=1GB`). The
latter two are always strings, so "3600", "true" and "a:1,b:2" are accepted where a number, a boolean or a list
is meant. Every error is a `ConfigurationError` of one line that names the key, the value and what is allowed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeVar

from guillotina_groupcache.display import shown
from guillotina_groupcache.interfaces import ConfigurationError
from guillotina_groupcache.settings.addresses import Address, Advertised, DnsName, Listen
from guillotina_groupcache.settings.model import NOWHERE, Secret, Settings, Tls

#: The environment variable that holds the secret. It overrides the file, as the environment always does.
SECRET_VARIABLE: Final = "GUILLOTINA_GROUPCACHE_SECRET"  # noqa: S105, a name
#: The environment variable that switches the cache of a process off or on. It overrides the file too.
ENABLED_VARIABLE: Final = "GUILLOTINA_GROUPCACHE_ENABLED"

#: Characters. Everybody who can connect to a peer learns the public key that is derived from the secret, and can then
#: try out secrets as fast as a computer can: an ordinary word would soon be found.
MIN_SECRET_LENGTH: Final = 16

#: Bytes. The hot copies get an eighth of `size`, which must hold at least a few objects.
MIN_SIZE: Final = 10**6
MAX_SIZE: Final = 2**40

#: Seconds: a year. Longer than that means 0, no limit.
MAX_TTL: Final = 365 * 24 * 3600

_UNITS: Final = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)
#: What stands for null or an empty list in the environment, which has neither.
_NONE: Final = ("", "none")
_TRUE: Final = ("true", "yes", "on", "1")
_FALSE: Final = ("false", "no", "off", "0")

_T = TypeVar("_T")


def parse(section: Mapping[str, Any] | None, environ: Mapping[str, str]) -> Settings:
    """Parse a `groupcache` section (None: there is none) in an environment (`os.environ`).

    A key without a value (`size:` in YAML) has its default. Raises `ConfigurationError`, but not for the other keys of
    a section that is switched off.
    """
    if not is_enabled(section, environ):
        return Settings(enabled=False)
    values = _known("groupcache", section, ["enabled", *_PARSERS])
    values.pop("enabled", None)
    if secret := environ.get(SECRET_VARIABLE):
        values["secret"] = secret
    settings = Settings(
        **{key: _PARSERS[key](value) for key, value in values.items()},
        explicit="listen" in values or "peers" in values,
    )
    _check_roles(settings, values)
    _check_authentication(settings, values)
    if settings.listen is None and settings.peers is not None:
        # Peers cannot have listed an address that is chosen at the start.
        settings = replace(settings, listen=NOWHERE)
    return settings


def is_enabled(section: object, environ: Mapping[str, str]) -> bool:
    """Whether a process has this cache at all: the off switch.

    It is read before everything else, and also in a section that is otherwise wrong: a user who switches the cache off
    in an emergency must not have to mend the section first. Raises `ConfigurationError` where the switch itself is not
    a boolean.
    """
    if value := environ.get(ENABLED_VARIABLE):
        return _boolean(ENABLED_VARIABLE, value)
    value = section.get("enabled") if isinstance(section, Mapping) else None
    return True if value is None else _boolean("groupcache.enabled", value)


def _error(key: str, value: object, problem: str) -> ConfigurationError:
    return ConfigurationError(f"groupcache.{key}: {shown(value)} {problem}")


def _known(name: str, section: object, keys: list[str]) -> dict[str, Any]:
    """The keys of a section that have a value. Values are not shown: one of them may be the secret."""
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        kind = type(section).__name__
        raise ConfigurationError(f"{name}: a {kind} is not a section: give a mapping of {', '.join(keys)}")
    for key in section:
        if key not in keys:
            close = difflib.get_close_matches(str(key), keys, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ConfigurationError(f"{name}: {key!r} is not a known key{hint}: known are {', '.join(keys)}")
    return {key: value for key, value in section.items() if value is not None}


def _spelled(key: str, value: object, parse: Callable[[str], _T]) -> _T:
    if not isinstance(value, str):
        raise _error(key, value, "is not an address: give a string")
    try:
        return parse(value)
    except ValueError as error:
        raise _error(key, value, str(error)) from None


def _is_none(value: object) -> bool:
    return isinstance(value, str) and value.strip().lower() in _NONE


def _listen(value: object) -> Listen:
    return NOWHERE if _is_none(value) else _spelled("listen", value, Listen.parse)


def _advertise(value: object) -> Advertised | None:
    return None if _is_none(value) else _spelled("advertise", value, Advertised.parse)


def _peers(value: object) -> tuple[Address | DnsName, ...] | None:
    if _is_none(value):
        return ()
    if isinstance(value, str) and value.strip().lower() == "database":
        return None
    if isinstance(value, str):
        value = [peer for peer in value.split(",") if peer.strip()]
    if not isinstance(value, (list, tuple)):
        raise _error("peers", value, "is not a list: give database, or addresses as a list or with commas between them")
    return tuple(dict.fromkeys(_spelled("peers", peer, _peer) for peer in value))


def _peer(text: str) -> Address | DnsName:
    return DnsName.parse(text) if text.strip().startswith("dns:") else Address.parse(text)


def _secret(value: object) -> Secret:
    # A secret that is read from a file ends with a newline on some hosts and not on others.
    secret = value.strip() if isinstance(value, str) else ""
    if len(secret) < MIN_SECRET_LENGTH:
        problem = "is too short" if isinstance(value, str) else "is not a string"
        allowed = f"give a random one of at least {MIN_SECRET_LENGTH} characters"
        raise ConfigurationError(f"groupcache.secret: *** {problem}: {allowed} (openssl rand -hex 32)")
    try:
        secret.encode()
    except UnicodeEncodeError:
        # `from None`: the original error shows the secret.
        raise ConfigurationError("groupcache.secret: *** is not UTF-8: give letters and digits") from None
    return Secret(secret)


def _tls(value: object) -> Tls:
    names = [field.name for field in fields(Tls)]
    paths = _known("groupcache.tls", value, names)
    for name in names:
        path = paths.get(name)
        if not isinstance(path, str) or not path.strip():
            raise _error(f"tls.{name}", path, "is not a path: give the path of a PEM file")
    return Tls(**paths)


def _size(value: object) -> int:
    size = value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        unit = _UNITS.get(match[2].upper())
        size = None if unit is None else int(Decimal(match[1]) * unit)
    if size is None:
        raise _error("size", value, "is not a size: give bytes or a number with KB, MB, GB, KiB, MiB or GiB")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise _error("size", value, "is out of range: give 1MB to 1024GiB")
    return size


def _ttl(value: object) -> float:
    try:
        ttl = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        ttl = -1.0
    if not 0 <= ttl <= MAX_TTL:
        raise _error("ttl", value, f"is not a time: give seconds from 0 (no limit) to {MAX_TTL} (a year)")
    return ttl


def _boolean(name: str, value: object) -> bool:
    # `str` covers booleans, the numbers 0 and 1, and the strings of the environment alike.
    text = str(value).strip().lower()
    if text not in _TRUE + _FALSE:
        raise ConfigurationError(f"{name}: {shown(value)} is not a boolean: give true or false")
    return text in _TRUE


_PARSERS: Final[dict[str, Callable[[object], Any]]] = {
    "listen": _listen,
    "advertise": _advertise,
    "peers": _peers,
    "secret": _secret,
    "tls": _tls,
    "size": _size,
    "ttl": _ttl,
    "push": partial(_boolean, "groupcache.push"),
}


def _check_roles(settings: Settings, values: Mapping[str, Any]) -> None:
    """Refuse keys that contradict each other."""
    listens = settings.listen is not None and bool(settings.listen.addresses)
    if listens and settings.alone:
        problem = "is given beside empty peers: give peers: database to be a peer, or no listen to be the only process"
        raise _error("listen", values["listen"], problem)
    if settings.advertise is None:
        return
    if settings.listen is None or not settings.listen.ports:
        problem = "is what peers dial instead of listen: give a listen address of host:port too, or no advertise"
        raise _error("advertise", values["advertise"], problem)
    if settings.advertise.port is not None and len(settings.listen.ports) > 1:
        raise _error("advertise", values["advertise"], "has a port, and listen a range of them: give the host alone")


def _check_authentication(settings: Settings, values: Mapping[str, Any]) -> None:
    """Refuse TCP without a secret or certificates (R15): a peer is trusted like the database, so it must prove itself.

    Loopback is no exception: every user of the host can connect there, and whoever can put a value into the cache runs
    code (`records`). A unix socket has a mode. `advertise` needs no check: it is only allowed beside a TCP `listen`.
    """
    if settings.secret and settings.tls:
        raise ConfigurationError("groupcache.tls: given beside a secret: give tls or secret, not both")
    if settings.secret or settings.tls:
        return
    problem = (
        "is TCP, where anybody can connect, on loopback every user of the host:"
        " give secret or tls as well, or unix:/path"
    )
    if settings.listen and any(address.tcp for address in settings.listen.addresses):
        raise _error("listen", values["listen"], problem)
    for peer in settings.peers or ():
        if peer.tcp:
            raise _error("peers", str(peer), problem)
