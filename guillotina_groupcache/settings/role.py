"""The role of this process by Guillotina's settings: a peer, a client, a cache of its own, or none."""

from __future__ import annotations

import enum
import os
from typing import Any, Final

from guillotina import app_settings
from guillotina.db.interfaces import ICockroachStorage, IPostgresStorage
from guillotina.utils import list_or_dict_items

from guillotina_groupcache.settings import advertise, parser, sockets
from guillotina_groupcache.settings.addresses import Advertised
from guillotina_groupcache.settings.model import BUCKETS, LEASE, NOWHERE, Settings

#: Commands of `guillotina` that serve; without a command an ASGI server runs this process. `serve-reload` is not among
#: them: it starts Guillotina in its own process and in a child, and the child is the server.
_SERVERS: Final = (None, "", "serve")
#: Storages that no other process can write to.
_OWN_STORAGES: Final = frozenset(("DUMMY", "DUMMY_FILE"))


class Role(enum.Enum):
    """What a process has to do with other processes."""

    MEMBER = "member"  #: a peer or a client, in the members table
    ALONE = "alone"  #: the only process, or the only one that can reach its databases
    UNCACHED = "uncached"  #: others may write to its databases, and it has no way to learn of that


def is_enabled() -> bool:
    """Whether this process has the cache (`parser.is_enabled`). Raises `ConfigurationError`."""
    return parser.is_enabled(app_settings.get("groupcache"), os.environ)


def process_settings() -> Settings:
    """The `groupcache` section for this process: a command beside the server does not listen.

    Raises `ConfigurationError`.
    """
    parsed = parser.parse(app_settings.get("groupcache"), os.environ)
    return parsed if app_settings.get("_command") in _SERVERS else parsed.for_command()


def role_of(parsed: Settings, storage: Any) -> Role:
    """The role of a process whose first database uses this storage.

    Where the section does not decide, all processes of a configuration must come to the same role, whichever databases
    they use. So the `databases` count: those of `storages` are opened only on demand.
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
    """Why a database must not be cached: this process would not hear of its changes. Empty if it may be cached."""
    if role is Role.MEMBER or parsed.alone or (role is Role.ALONE and not IPostgresStorage.providedBy(storage)):
        return ""
    return (
        "there is no PostgreSQL in `databases` by which processes could learn of each other's writes:"
        " give groupcache: {peers: []} if this is the only process that uses it"
    )


async def node_config(parsed: Settings, role: Role, storage: Any, near_size: int) -> dict[str, Any]:
    """The configuration of the library; go/internal/node/config.go describes the fields.

    `storage` is that of the first database, `near_size` the bytes of `size` that the near cache takes.

    Raises `ConfigurationError` where there is no address to listen on, or none that peers can dial.
    """
    listen, advertised = NOWHERE, parsed.advertise
    if role is Role.MEMBER:
        listen = parsed.listen or sockets.automatic(os.environ)
        if parsed.wildcard and (listen.addresses or parsed.peers):
            advertised = Advertised(await advertise.find_host(parsed.wildcard, storage))
    return {
        "listen": [str(address) for address in listen.addresses],
        "advertise": str(advertised) if advertised and listen.addresses else "",
        "admit": parsed.admitted(advertised),
        "alone": role is Role.ALONE,
        "secret": parsed.secret.reveal() if parsed.secret else "",
        "tls": None if parsed.tls is None else {"cert": parsed.tls.cert, "key": parsed.tls.key, "ca": parsed.tls.ca},
        "size": parsed.size - near_size,
        "ttl": parsed.ttl,
        "lease": LEASE,
        "buckets": BUCKETS,
    }


def described(parsed: Settings, role: Role, address: str) -> str:
    """Describe this process for the log; `address` is what its peers dial."""
    if role is Role.ALONE:
        return "a cache of this process alone"
    if not address:
        return "a client"
    return f"a peer at {address}" + (", for the processes of this user on this host" if parsed.listen is None else "")
