"""What the system allows this process, checked before the library is loaded.

A Go runtime that gets no memory, or no descriptor, ends the whole process with pages of stacks; and with a `size`
beyond what there is, the kernel ends the process later without any message. So a process that cannot have what it is
configured to take does not start, and says so in one line. What is free at the start may still be used up later.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from guillotina_groupcache.interfaces import ConfigurationError

#: Bytes of address space that the runtime reserves, most of it never used: 1.7 GB were measured, threads included.
ADDRESSES: Final = 2 * 10**9
#: Bytes of private memory that it and its threads' stacks may take: 130 MB were measured, most of it never used.
PRIVATE: Final = 250 * 10**6
#: Descriptors for the runtime, the library's queue and the first few connections.
DESCRIPTORS: Final = 32

_NONE: Final = resource.RLIM_INFINITY


def check(size: int, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> None:
    """Raise `ConfigurationError`, with one line, where this process cannot have a cache of so many bytes."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    _check_size(size, machine, "this machine has")
    for path, limit in _group_limits(proc / "self" / "cgroup", groups):
        _check_size(size, limit, f"its control group may take ({path})")
    addresses, private = _taken(proc / "self" / "status")
    for name, kind, need, taken in (
        ("ulimit -v", resource.RLIMIT_AS, ADDRESSES + size, addresses),
        ("ulimit -d", resource.RLIMIT_DATA, PRIVATE + size, private),
    ):
        limit, _ = resource.getrlimit(kind)
        if limit != _NONE and limit - taken < need:
            raise ConfigurationError(
                f"groupcache.size: {_shown(size)} and the library's own needs take {_shown(need)}, and the limit"
                f" {name} of {_shown(limit)} leaves {_shown(max(limit - taken, 0))}: raise it, or give less"
            )
    _check_descriptors(proc / "self" / "fd")


def _check_size(size: int, limit: int, whose: str) -> None:
    if size > limit:
        raise ConfigurationError(
            f"groupcache.size: {_shown(size)} is more than {_shown(limit)}, all that {whose}: give less"
        )


def _check_descriptors(folder: Path) -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(list(folder.iterdir()))
    except OSError:
        return  # there is no such folder, so the number is unknown, or no descriptor left to read it
    if limit != _NONE and limit - used < DESCRIPTORS:
        raise ConfigurationError(
            f"groupcache: the library needs {DESCRIPTORS} descriptors to start, and of the {limit} that ulimit -n"
            f" allows {used} are in use: raise it"
        )


def _group_limits(memberships: Path, groups: Path) -> Iterator[tuple[Path, int]]:
    """The limits of this process' control groups and of those above them: each limit's file, and its bytes."""
    try:
        lines = memberships.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = groups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        inner = root / path.lstrip("/")
        # In a container the path may be that of the host: then only the topmost folder is there, the container's own.
        for group in (inner, *inner.parents):
            limit = _number(group / name)
            if limit is not None:
                yield group / name, limit
            if group == root:
                break


def _number(path: Path) -> int | None:
    """The number in a limit's file; None where there is no file, or no limit (`max`)."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _taken(status: Path) -> tuple[int, int]:
    """Bytes of address space, and of private memory, that this process has taken; 0 where they are unknown."""
    found = {"VmSize": 0, "VmData": 0}
    try:
        for line in status.read_text().splitlines():
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) * 1024
    except OSError:
        pass
    return found["VmSize"], found["VmData"]


def _shown(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
