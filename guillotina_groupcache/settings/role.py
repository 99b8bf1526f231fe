"""What this process is to be: a peer, a client, a cache of its own, or none, by Guillotina's settings."""

from __future__ import annotations

import enum
import os
from typing import Any, Final

from guillotina import app_settings
from guillotina.db.interfaces import ICockroachStorage, IPostgresStorage
from guillotina.utils import list_or_dict_items

from guillotina_groupcache.settings import advertise, sockets
from guillotina_groupcache.settings import parser as section
from guillotina_groupcache.settings.addresses import Advertised
from guillotina_groupcache.settings.model import BUCKETS, LEASE, NOWHERE, Settings

#: Commands of `guillotina` that serve; without a command an ASGI server runs this process. `serve-reload` is none:
#: it starts Guillotina in itself and in a child, and the child is the server.
_SERVERS: Final = (None, "", "serve")
#: Storages that no other process can write to.
_OWN_STORAGES: Final = frozenset(("DUMMY", "DUMMY_FILE"))


class Role(enum.Enum):
    """What a process has to do with others."""

    MEMBER = "member"  #: a peer or a client, in the members table
    ALONE = "alone"  #: the only process, or the only one that can reach its databases
    UNCACHED = "uncached"  #: others may write to its databases, and there is no way to hear of it


def is_enabled() -> bool:
    """Whether this process is to have the cache (`section.is_enabled`). Raises `ConfigurationError`."""
    return section.is_enabled(app_settings.get("groupcache"), os.environ)


def process_settings() -> Settings:
    """The `groupcache` section as it holds for this process: a command beside the server does not listen.

    Raises `ConfigurationError`.
    """
    parsed = section.parse(app_settings.get("groupcache"), os.environ)
    return parsed if app_settings.get("_command") in _SERVERS else parsed.for_command()


def role_of(parsed: Settings, storage: Any) -> Role:
    """What a process is to be whose first database has this storage.

    Where nothing is said, that has to be the same in all processes of a configuration, whichever databases they
    come to use. So it is the `databases` that count: those of `storages` are there only when somebody asks.
    """
    if parsed.alone:
        return Role.ALONE
    databases = _storages("databases")
    if parsed.explicit or is_referee(storage) or "postgresql" in databases:
        return Role.MEMBER
    return Role.ALONE if databases | _storages("storages") <= _OWN_STORAGES else Role.UNCACHED


def _storages(key: str) -> set[str]:
    return {str(config.get("storage")) for _, config in list_or_dict_items(app_settings.get(key) or {})}


def is_referee(storage: Any) -> bool:
    """Whether a storage's database can hold the members table: PostgreSQL itself."""
    return bool(IPostgresStorage.providedBy(storage)) and not ICockroachStorage.providedBy(storage)


def why_uncached(parsed: Settings, role: Role, storage: Any) -> str:
    """Why a database must not be cached: it can be changed without this process hearing of it. "" if it may be."""
    if role is Role.MEMBER or parsed.alone or (role is Role.ALONE and not IPostgresStorage.providedBy(storage)):
        return ""
    return (
        "there is no PostgreSQL in `databases` by which processes could learn of each other's writes:"
        " give groupcache: {peers: []} if this is the only process that uses it"
    )


async def node_config(parsed: Settings, role: Role, storage: Any, near_size: int) -> dict[str, Any]:
    """The configuration of the library, whose fields go/internal/node/config.go describes.

    `storage` is that of the first database, `near_size` the bytes of `size` that the near cache takes.

    Raises `ConfigurationError` where there is no place to listen, or no address for the peers.
    """
    listen, told = NOWHERE, parsed.advertise
    if role is Role.MEMBER:
        listen = parsed.listen or sockets.automatic(os.environ)
        if parsed.wildcard and (listen.addresses or parsed.peers):
            told = Advertised(await advertise.find_host(parsed.wildcard, storage))
    return {
        "listen": [str(address) for address in listen.addresses],
        "advertise": str(told) if told and listen.addresses else "",
        "admit": parsed.admitted(told),
        "alone": role is Role.ALONE,
        "secret": parsed.secret.reveal() if parsed.secret else "",
        "tls": None if parsed.tls is None else {"cert": parsed.tls.cert, "key": parsed.tls.key, "ca": parsed.tls.ca},
        "size": parsed.size - near_size,
        "ttl": parsed.ttl,
        "lease": LEASE,
        "buckets": BUCKETS,
    }


def described(parsed: Settings, role: Role, address: str) -> str:
    """What this process is, for the log; `address` is what its peers dial."""
    if role is Role.ALONE:
        return "a cache of this process alone"
    if not address:
        return "a client"
    return f"a peer at {address}" + (", for the processes of this user on this host" if parsed.listen is None else "")
