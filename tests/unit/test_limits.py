"""A limit of the system that is too low ends the start with one line, not the process with a dump."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guillotina_groupcache.interfaces import ConfigurationError
from guillotina_groupcache.settings import limits
from tests.unit.life_node import ALONE

SIZE = 10**8
GROUPS = Path("/sys/fs/cgroup")
#: A process that limits itself to so much more of a resource than it uses now, and opens the library.
SCRIPT = """
import json, os, resource, sys
from guillotina_groupcache import native
from guillotina_groupcache.settings import limits

kind, more, size = getattr(resource, sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
used = {
    resource.RLIMIT_AS: lambda: int(lines["VmSize"].split()[0]) * 1024,
    resource.RLIMIT_DATA: lambda: int(lines["VmData"].split()[0]) * 1024,
    resource.RLIMIT_NOFILE: lambda: len(os.listdir("/proc/self/fd")),
}[kind]()
resource.setrlimit(kind, (used + more, used + more))
try:
    limits.check(size)
    native.Node({**json.loads(sys.argv[4]), "size": size, "buckets": 1 << 20}).close()
except Exception as error:
    print(error)
else:
    print("open")
"""
SLACK = 2**20


@pytest.mark.parametrize(
    ("kind", "enough", "too_few", "name"),
    [
        ("RLIMIT_AS", limits.ADDRESSES + SIZE + SLACK, 500 * 10**6, "ulimit -v"),
        ("RLIMIT_DATA", limits.PRIVATE + SIZE + SLACK, 60 * 10**6, "ulimit -d"),
        ("RLIMIT_NOFILE", limits.DESCRIPTORS + 1, 5, "ulimit -n"),
    ],
)
def test_the_limits_of_the_process(kind: str, enough: int, too_few: int, name: str) -> None:
    def opened(more: int) -> str:
        command = [sys.executable, "-c", SCRIPT, kind, str(more), str(SIZE), json.dumps(ALONE)]
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        assert ended.returncode == 0, ended.stdout.decode()[:500]
        return ended.stdout.decode().removesuffix("\n")

    assert opened(enough) == "open"
    line = opened(too_few)
    assert line.startswith("groupcache") and name in line and "\n" not in line


def error(size: int, proc: Path, groups: Path) -> str:
    """The message that refuses a size; empty where it is not refused."""
    try:
        limits.check(size, proc, groups)
    except ConfigurationError as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


def test_a_size_over_what_the_machine_has() -> None:
    has = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    line = error(10**15, Path("/proc"), Path("/nowhere"))
    assert line.startswith(f"groupcache.size: 1000000000 MB is more than {has / 1e6:.0f} MB, all that this machine has")


@pytest.fixture
def process(tmp_path: Path) -> Path:
    """A folder like that of a process in /proc."""
    (tmp_path / "self").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("membership", "path", "limit", "is_refused"),
    [
        ("0::/a/b", "a/b/memory.max", "99999999", True),
        ("0::/a/b", "a/memory.max", "99999999", True),
        ("0::/a/b", "a/memory.max", "100000000", False),
        ("0::/a/b", "a/b/memory.max", "max", False),
        ("0::/", "memory.max", "1000", True),
        ("0::/../outside", "memory.max", "1000", True),
        ("0::/a/b", "a/b/c/memory.max", "1000", False),
        ("4:memory:/a/b", "memory/a/memory.limit_in_bytes", "1000", True),
        ("4:cpu,memory:/docker/0123", "memory/memory.limit_in_bytes", "1000", True),
        ("4:memory:/a", "memory/a/memory.limit_in_bytes", "9223372036854771712", False),
        ("4:cpu:/a", "memory/a/memory.limit_in_bytes", "1000", False),
        ("4:name=systemd:/a:b", "memory.max", "1000", False),
    ],
)
def test_control_groups_by_their_files(
    process: Path, tmp_path: Path, membership: str, path: str, limit: str, is_refused: bool
) -> None:
    (process / "self" / "cgroup").write_text(f"9:pids:/a\n{membership}\n")
    file = tmp_path / "groups" / path
    file.parent.mkdir(parents=True)
    file.write_text(f"{limit}\n")
    line = error(SIZE, process, tmp_path / "groups")
    assert bool(line) == is_refused and (not line or str(file) in line)


@pytest.fixture
def group() -> Iterator[Path]:
    """A real control group for a process, which may have five times `SIZE` of memory."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        root = GROUPS if controllers == "" else GROUPS / "memory" if "memory" in controllers.split(",") else None
        name = "memory.max" if controllers == "" else "memory.limit_in_bytes"
        made = None if root is None else root / path.lstrip("/") / f"groupcache_{os.getpid()}"
        if made is None:
            continue
        try:
            made.mkdir()
        except OSError:
            continue
        try:
            if (made / name).exists():
                (made / name).write_text(str(SIZE * 5))
                yield made
                return
        finally:
            made.rmdir()
    pytest.skip("no control group for memory can be made here")


def test_a_size_over_what_the_control_group_may_take(group: Path) -> None:
    """In a real one, which the process is in."""
    script = (
        f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')\n"
        f"from guillotina_groupcache.settings import limits\nlimits.check({SIZE})\nlimits.check({SIZE * 10})"
    )
    ended = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, timeout=60, check=False)
    line = ended.stderr.decode().splitlines()[-1]
    assert f"1000 MB is more than 500 MB, all that its control group may take ({group}/memory" in line
