"""The `groupcache` section of Guillotina's settings: its keys, their defaults, and what is allowed.

Guillotina takes settings from a file, from `--override` and from the environment (`G_groupcache__size=1GB`). The
latter two are always strings, so "3600", "true" and "a:1,b:2" are accepted where a number, a boolean or a list
is meant. Every error is a `ConfigurationError` of one line that names the key, the value and what is allowed.
"""

from __future__ import annotations

import difflib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any, Final

from guillotina_groupcache.addresses import Address
from guillotina_groupcache.interfaces import ConfigurationError

#: The environment variable that holds the secret. It goes before the file, as the environment always does.
SECRET_VARIABLE: Final = "GUILLOTINA_GROUPCACHE_SECRET"

#: Characters. Who can connect to a peer learns the public key that is derived from the secret, and can then
#: try out secrets as fast as a computer can, so a word of everyday length is none.
MIN_SECRET_LENGTH: Final = 16

#: Bytes. The hot copies get an eighth of `size`, which has to hold at least a few objects.
MIN_SIZE: Final = 10**6
MAX_SIZE: Final = 2**40

#: Seconds: a year. A longer time is better written as 0, none.
MAX_TTL: Final = 365 * 24 * 3600

_UNITS: Final = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)
_TRUE: Final = ("true", "yes", "on", "1")
_FALSE: Final = ("false", "no", "off", "0")


class Secret:
    """The secret that all peers share. It shows itself to `reveal` only, never in a log or an error."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself, for the library."""
        return self._value

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class Tls:
    """A PKI of the user's own: paths of PEM files. They are read when the library starts."""

    cert: str  #: this process' certificate, with its chain
    key: str  #: its private key
    ca: str  #: the authorities whose certificates a peer may show


@dataclass(frozen=True, slots=True)
class Settings:
    """What the `groupcache` section says, checked. `parse` makes it; the defaults are those of an empty section."""

    listen: Address | None = None  #: where the peers reach this process; None: it owns no keys (a client)
    peers: tuple[Address, ...] = ()  #: without duplicates; `listen` may be among them
    secret: Secret | None = None  #: at most one of `secret` and `tls` is given
    tls: Tls | None = None
    size: int = 256 * 10**6  #: bytes of memory, main and hot copies together, of this process
    ttl: float = 3600.0  #: seconds for which a value is served at most; 0: no limit
    push: bool = True  #: whether what was written is given to its owner at once

    @property
    def alone(self) -> bool:
        """Whether this is a cache of one process, which neither has peers nor can be one."""
        return self.listen is None and not self.peers

    def for_command(self) -> Settings:
        """These settings for a Guillotina command that runs beside the server: a client of the same peers.

        It does not listen. The server's own address becomes a peer, as the list need not name it: the server
        must learn of what the command writes.
        """
        if self.listen is None:
            return self
        return replace(self, listen=None, peers=_unique((self.listen, *self.peers)))


def parse(section: Mapping[str, Any] | None, environ: Mapping[str, str]) -> Settings:
    """The settings of a `groupcache` section (None: there is none) in an environment (`os.environ`).

    A key without a value (`size:` in YAML) has its default. Raises `ConfigurationError`.
    """
    values = _known("groupcache", section, [field.name for field in fields(Settings)])
    if secret := environ.get(SECRET_VARIABLE):
        values["secret"] = secret
    settings = Settings(**{key: _PARSERS[key](value) for key, value in values.items()})
    _check_authentication(settings)
    return settings


def _error(key: str, value: object, problem: str) -> ConfigurationError:
    shown = repr(value)
    if len(shown) > 120:
        shown = f"{shown[:119]}…"
    return ConfigurationError(f"groupcache.{key}: {shown} {problem}")


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


def _address(key: str, value: object) -> Address:
    if not isinstance(value, str):
        raise _error(key, value, "is not an address: give a string")
    try:
        return Address.parse(value)
    except ValueError as error:
        raise _error(key, value, str(error)) from None


def _listen(value: object) -> Address | None:
    # The environment has no null, so its strings can say "none".
    if isinstance(value, str) and value.strip().lower() in ("", "none"):
        return None
    return _address("listen", value)


def _peers(value: object) -> tuple[Address, ...]:
    if isinstance(value, str):
        value = [peer for peer in value.split(",") if peer.strip()]
    if not isinstance(value, (list, tuple)):
        raise _error("peers", value, "is not a list: give addresses as a list or with commas between them")
    return _unique(_address("peers", peer) for peer in value)


def _unique(addresses: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(dict.fromkeys(addresses))


def _secret(value: object) -> Secret:
    # A secret read from a file often ends with a newline, and not on every host.
    secret = value.strip() if isinstance(value, str) else ""
    if len(secret) < MIN_SECRET_LENGTH:
        problem = "is too short" if isinstance(value, str) else "is not a string"
        allowed = f"give a random one of at least {MIN_SECRET_LENGTH} characters"
        raise ConfigurationError(f"groupcache.secret: *** {problem}: {allowed} (openssl rand -hex 32)")
    try:
        secret.encode()
    except UnicodeEncodeError:
        # `from None`: the error at hand shows the secret.
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


def _push(value: object) -> bool:
    # `str` makes one case of the booleans, the numbers 0 and 1, and the strings of the environment.
    text = str(value).strip().lower()
    if text not in _TRUE + _FALSE:
        raise _error("push", value, "is not a boolean: give true or false")
    return text in _TRUE


_PARSERS: Final[dict[str, Callable[[object], Any]]] = {
    "listen": _listen,
    "peers": _peers,
    "secret": _secret,
    "tls": _tls,
    "size": _size,
    "ttl": _ttl,
    "push": _push,
}


def _check_authentication(settings: Settings) -> None:
    """Who can connect is trusted like the database, so strangers must not be able to (design.md, Peers)."""
    if settings.secret and settings.tls:
        raise ConfigurationError("groupcache.tls: given beside a secret: give tls or secret, not both")
    if settings.secret or settings.tls:
        return
    own = [("listen", settings.listen)] if settings.listen else []
    for key, address in [*own, *(("peers", peer) for peer in settings.peers)]:
        if not address.local:
            raise _error(
                key,
                address.text,
                "can be reached from other hosts: give a secret or tls as well,"
                " or an address of 127.0.0.0/8, [::1], localhost or unix:/path",
            )
