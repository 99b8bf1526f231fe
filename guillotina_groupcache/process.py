"""What this process is to be: a peer, a client or a cache of its own, by Guillotina's settings."""

from __future__ import annotations

import os
from typing import Any, Final

from guillotina import app_settings

from guillotina_groupcache import settings

#: Buckets of the version table; the same in the whole cluster.
BUCKETS: Final = 1 << 20
#: Seconds for which a reading of the members table lets a process serve (R2).
LEASE: Final = 3.0

#: Commands of `guillotina` that serve; without a command an ASGI server runs this process. `serve-reload` is none:
#: it starts Guillotina in itself and in a child, and the child is the server.
_SERVERS: Final = (None, "", "serve")


def process_settings() -> settings.Settings:
    """The `groupcache` section as it holds for this process: a command beside the server does not listen.

    Raises `ConfigurationError`.
    """
    parsed = settings.parse(app_settings.get("groupcache"), os.environ)
    return parsed if app_settings.get("_command") in _SERVERS else parsed.for_command()


def node_config(parsed: settings.Settings) -> dict[str, Any]:
    """The library's configuration: go/internal/node/config.go tells the fields."""
    return {
        "listen": str(parsed.listen) if parsed.listen else "",
        "alone": parsed.alone,
        "secret": parsed.secret.reveal() if parsed.secret else "",
        "tls": None if parsed.tls is None else {"cert": parsed.tls.cert, "key": parsed.tls.key, "ca": parsed.tls.ca},
        "size": parsed.size,
        "ttl": parsed.ttl,
        "lease": LEASE,
        "buckets": BUCKETS,
    }


def described(parsed: settings.Settings) -> str:
    """What this process is, for the log."""
    if parsed.alone:
        return "a cache of this process alone"
    if parsed.listen is None:
        return f"a client of {len(parsed.peers)} peers"
    return f"a peer at {parsed.listen}"
