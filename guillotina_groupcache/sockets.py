"""Where a process listens that is told nothing: a unix socket in a folder that only its own user can enter.

The sockets have numbers, and a process takes the first that is free. So a process that is restarted, or one that
takes the place of another, has the address that the others know, and the ring of owners stays as it was.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from guillotina_groupcache.addresses import Listen
from guillotina_groupcache.interfaces import ConfigurationError

#: Processes of one user of one host that can be peers without configuration, of all sites together.
SLOTS: Final = 256

_REMEDY: Final = "or give listen, for example 127.0.0.1:9000-9255"


def automatic(environ: Mapping[str, str]) -> Listen:
    """The sockets of this user, in an environment (`os.environ`). The folder is there when this returns.

    Raises `ConfigurationError` where there is no folder that is safe.
    """
    path = folder(environ)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        _check(path)
    except OSError as error:
        raise ConfigurationError(
            f"groupcache.listen: the folder {path} for this user's sockets cannot be made: {error.strerror}:"
            f" make it with mode 0700, {_REMEDY}"
        ) from None
    try:
        addresses = [Listen.parse(f"unix:{path}/{number}.sock").addresses[0] for number in range(SLOTS)]
    except ValueError as error:
        raise ConfigurationError(
            f"groupcache.listen: a socket in {path} {error}: give another XDG_RUNTIME_DIR or TMPDIR, {_REMEDY}"
        ) from None
    return Listen(tuple(addresses), tcp=False)


def folder(environ: Mapping[str, str]) -> Path:
    """The folder of this user's sockets: of the session where it has one, else among the temporary files."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and _is_own(runtime, private=False):
        return Path(runtime, "guillotina_groupcache")
    return Path(tempfile.gettempdir(), f"guillotina_groupcache-{os.geteuid()}")


def _check(path: Path) -> None:
    """In a folder that others can enter they could take a process' place. In /tmp anybody may have made it first."""
    if not _is_own(path, private=True):
        raise ConfigurationError(
            f"groupcache.listen: {path} is not a directory of this user that nobody else can enter (mode 0700):"
            f" remove it, {_REMEDY}"
        )


def _is_own(path: str | Path, private: bool) -> bool:
    """Whether this is a directory of this user; if `private`, one that no other user can enter, and no symlink."""
    try:
        found = os.lstat(path) if private else os.stat(path)
    except OSError:
        return False
    others = stat.S_IMODE(found.st_mode) & 0o077
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not (private and others)
