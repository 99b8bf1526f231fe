"""What the rest of the world may rely on: the exceptions and the utility's contract."""

# A zope interface describes methods without `self` and without a body.
# mypy: disable-error-code="misc, empty-body"

from __future__ import annotations

from typing import Any

from guillotina.interfaces.async_util import ICacheUtility


class GroupcacheError(Exception):
    """The root of all exceptions of this package."""


class ConfigurationError(GroupcacheError, ValueError):
    """The `groupcache` section cannot be used.

    The message is one line that names the key, the value and what is allowed. It never holds the secret.
    """


class LibraryError(GroupcacheError, RuntimeError):
    """The Go library cannot be loaded (missing, unreadable, wrong architecture), or it failed in a call."""


class ForkedError(LibraryError):
    """The library was loaded before this process was forked, so it cannot be used here.

    A Go runtime does not survive a fork: its threads are gone. Start the utility in the child instead.
    """


class KeyFormatError(GroupcacheError, ValueError):
    """These bytes are not a key, or these parts do not make one (see `keys`)."""


class RecordError(GroupcacheError, ValueError):
    """These bytes are not a cached value, or this value cannot be cached without changing it (see `records`)."""


class IGroupcacheUtility(ICacheUtility):
    """The cache of this process: one an event loop, a peer of the other processes' caches.

    It replaces the utility of guillotina.contrib.cache under the same interface, so `@cache-stats`,
    `@cache-clear` and whoever asks for `ICacheUtility` find it. All methods belong to the event loop that ran
    `initialize`; none may be called from another thread.
    """

    async def initialize(app: Any = None) -> None:
        """Read the settings; the first database begins to serve, and called after that this does nothing.

        It may be called again after `finalize`: a process can start, stop and start anew.

        It, and adding the first database, raises `ConfigurationError` for settings that cannot be used,
        `LibraryError` where the library does not load or there is no free address to listen on, and
        `ForkedError` in a child of a process that had loaded the library. After an error nothing is left
        running: no thread, no socket.
        """

    async def finalize(app: Any = None) -> None:
        """Stop: loads in flight end, waiters are answered, sockets and threads are gone when this returns.

        Calling it twice, or without `initialize`, does nothing.
        """

    async def get_stats(cluster: bool = False) -> dict[str, Any]:
        """The counters of this process since `initialize`; with `cluster`, also those of every peer.

        Counted are gets, hits by source, peer loads and errors, local loads, deduplicated loads, stored
        bytes and items, evictions, events announced, acknowledged and settled, buckets in doubt now, and
        bypasses. A peer that does not answer in time is listed with its error in place of counters: asking
        for statistics never fails because of a peer.
        """

    async def clear() -> None:
        """Rename everything in the whole cluster: one event over all buckets, whatever the cache's size.

        When it returns, no process in standing serves what was cached before the call. The memory is given
        back as entries that nobody asks for leave.
        """
