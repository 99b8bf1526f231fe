"""Where a process without configuration listens: on a unix socket in a folder that only its own user can enter.

The sockets have numbers, and a process takes the first that is free. So a process that is restarted, or replaces
another one, has an address that the others know, and the ring of owners stays as it was.

The tension: the folder must be the same every time, but anybody can make it first among the temporary files. Peers
learn addresses from the members table, so any private folder will do: where another user has the usual one, this user
makes one with a suffix that nobody can guess, and finds it again by looking for a folder of the user's own.
"""

from __future__ import annotations

import itertools
import logging
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from guillotina_groupcache.interfaces import ConfigurationError
from guillotina_groupcache.settings.addresses import Listen

logger = logging.getLogger("guillotina_groupcache")

#: How many processes of one user on one host can be peers without configuration, of all sites together.
SLOTS: Final = 256
#: Temporary files that are looked at to find the user's folder; if it is not among them, a new one is made.
MAX_LOOKED_AT: Final = 10_000

_REMEDY: Final = "or give listen, for example 127.0.0.1:9000-9255, and a secret"


def automatic(environ: Mapping[str, str]) -> Listen:
    """The sockets of this user, in an environment (`os.environ`). Makes their folder unless it is there.

    Raises `ConfigurationError` where no safe folder can be had.
    """
    path = _made(folder(environ))
    try:
        addresses = [Listen.parse(f"unix:{path}/{number}.sock").addresses[0] for number in range(SLOTS)]
    except ValueError as error:
        raise ConfigurationError(
            f"groupcache.listen: a socket in {path} {error}: give another XDG_RUNTIME_DIR or TMPDIR, {_REMEDY}"
        ) from None
    return Listen(tuple(addresses), tcp=False)


def folder(environ: Mapping[str, str]) -> Path:
    """The usual folder of this user's sockets: the session's if there is one, else one among the temporary files."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and _is_own(runtime, private=False):
        return Path(runtime, "guillotina_groupcache")
    return Path(tempfile.gettempdir(), f"guillotina_groupcache-{os.geteuid()}")


def _made(usual: Path) -> Path:
    """Make the usual folder, or another one where that is not safe: in it others could pretend to be a process."""
    try:
        os.mkdir(usual, 0o700)
        return usual
    except FileExistsError:
        if _is_own(usual, private=True):
            return usual
    except OSError as error:
        raise _refusal(usual, error) from None
    try:
        found = _other(usual) or Path(tempfile.mkdtemp(prefix=f"{usual.name}-", dir=usual.parent))
    except OSError as error:
        raise _refusal(usual, error) from None
    logger.warning(
        "groupcache: %s is not a directory of this user that nobody else can enter (mode 0700): the sockets are in %s:"
        " remove the former, %s",
        *(usual, found, _REMEDY),
    )
    return found


def _other(usual: Path) -> Path | None:
    """The folder that an earlier process has made instead of the usual one. No other user can make one of this user."""
    with os.scandir(usual.parent) as entries:
        looked_at = itertools.islice(entries, MAX_LOOKED_AT)
        own = [
            entry.path for entry in looked_at if entry.name.startswith(f"{usual.name}-") and _is_own(entry.path, True)
        ]
    return Path(min(own)) if own else None


def _refusal(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"groupcache.listen: the folder {path} for this user's sockets cannot be made: {error.strerror}:"
        f" make it with mode 0700, {_REMEDY}"
    )


def _is_own(path: str | Path, private: bool) -> bool:
    """Whether this is a directory of this user; if `private`, one that no other user can enter, and not a symlink."""
    try:
        found = os.lstat(path) if private else os.stat(path)
    except OSError:
        return False
    others = stat.S_IMODE(found.st_mode) & 0o077
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not (private and others)
