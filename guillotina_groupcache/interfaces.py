"""The public contract: the exceptions and the utility's interface."""

# A zope interface describes methods without `self` and without a body.
# mypy: disable-error-code="misc, empty-body"

from __future__ import annotations

from typing import Any

from guillotina.interfaces.async_util import ICacheUtility


class GroupcacheError(Exception):
    """The base class of all exceptions of this package."""


class ConfigurationError(GroupcacheError, ValueError):
    """The `groupcache` section cannot be used.

    The message is one line that names the key, the value and what is allowed. It never holds the secret.
    """


class LibraryError(GroupcacheError, RuntimeError):
    """The Go library cannot be loaded (missing, unreadable, wrong architecture), or a call to it failed."""


class ForkedError(LibraryError):
    """The library was loaded before this process was forked, so it cannot be used here.

    A Go runtime does not survive a fork, as its threads are gone. Start the utility in the child instead.
    """


class KeyFormatError(GroupcacheError, ValueError):
    """These bytes are not a key, or these parts cannot form one (see `keys`)."""


class RecordError(GroupcacheError, ValueError):
    """These bytes are not a cached value, or this value cannot be cached without changing it (see `records`)."""


class IGroupcacheUtility(ICacheUtility):
    """The cache of this process, one per event loop, and a peer of the other processes' caches.

    It replaces the utility of guillotina.contrib.cache under the same interface, so code that asks for `ICacheUtility`
    finds it. All methods belong to the event loop that ran `initialize`; none may be called from another thread.
    """

    async def initialize(app: Any = None) -> None:
        """Read the settings. Serving begins with the first database; after that this does nothing.

        It may be called again after `finalize`: a process can start, stop and start anew.

        It, and adding the first database, raises `ConfigurationError` for settings that cannot be used, `LibraryError`
        where the library does not load or no address to listen on is free, and `ForkedError` in a child of a process
        that had loaded the library. After an error nothing is left running: no thread, no socket.
        """

    async def finalize(app: Any = None) -> None:
        """Stop. When this returns, loads in flight have ended, waiters have an answer, sockets and threads are gone.

        A second call, or one without `initialize`, does nothing.
        """

    async def get_stats(cluster: bool = False) -> dict[str, Any]:
        """The statistics of this process since `initialize`; with `cluster`, also those of every peer, under `peers`.

        docs/operating.rst lists them. A peer that does not answer in time is listed with its error instead of
        statistics: this never fails because of a peer.
        """

    async def clear() -> None:
        """Bump all buckets in the whole cluster, by one event, whatever the cache's size.

        When it returns, no process serves what was cached before the call. Its memory becomes free bit by bit, as the
        entries are evicted.
        """
