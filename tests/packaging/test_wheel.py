"""The package as its users get it: an sdist that builds without Go, a wheel that needs no compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILERS = ("gcc", "clang", "cc", "c++", "g++")
# A Guillotina application on a real database reads its root twice, and prints where the package is and how often
# a value came from the cache.
SERVE_A_CACHED_READ = """
import asyncio, sys
import guillotina_groupcache
from guillotina.component import get_utility
from guillotina.const import ROOT_ID
from guillotina.factory import make_app
from guillotina.transactions import transaction
from guillotina_groupcache.interfaces import IGroupcacheUtility

async def main():
    app = make_app(loop=asyncio.get_running_loop(), settings={
        "applications": ["guillotina", "guillotina_groupcache"],
        "databases": {"db": {"storage": "postgresql", "dsn": sys.argv[1]}},
    })
    await app.startup()
    try:
        utility = get_utility(IGroupcacheUtility)
        while not utility.local_stats()["serving"]:
            await asyncio.sleep(0.01)
        async with transaction(db=app.app.root["db"]) as txn:
            assert await txn._get(ROOT_ID) == await txn._get(ROOT_ID)
        hits = utility.local_stats()["hits"]
        print(guillotina_groupcache.__file__, hits["own"] + hits["near"])
    finally:
        await app.shutdown()

asyncio.run(main())
"""


def run(*command: str | Path, cwd: Path, path: str | None = None) -> str:
    """Run a program with the given PATH; fail with its output where it fails."""
    environment = {**os.environ, "PATH": os.environ["PATH"] if path is None else path}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        timeout=600,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def path_without(directory: Path, *programs: str) -> str:
    """Make a directory of links to every program on PATH but these; return it as a PATH."""
    directory.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*"):
            link = directory / program.name
            if program.name not in programs and not link.exists():
                link.symlink_to(program)
    return str(directory)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", directory, cwd=ROOT)
    (archive,) = directory.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that pip builds from the sdist on a machine without Go."""
    directory = tmp_path_factory.mktemp("wheel")
    path = path_without(directory / "programs", "go", "gofmt")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", directory, sdist, cwd=directory, path=path)
    (archive,) = directory.glob("*.whl")
    return archive


def test_sdist_holds_the_sources_and_nothing_built(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"go/main.go", "go/go.mod", "build_backend/go_backend.py", "LICENSE"} <= names
    # What the tests import and read.
    assert {"harness/cluster.py", "demo/__main__.py", "benchmarks/__main__.py", "tests/words.toml"} <= names
    assert {path.name for path in ROOT.glob("*.rst")} <= names
    assert not [name for name in names if name.endswith((".so", "_native_abi.py", ".pyc"))]


def test_wheel_is_for_every_python_of_a_platform(wheel: Path) -> None:
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {"__init__.py", "_native_abi.py", "libgroupcache.so", "py.typed"}
    assert {f"guillotina_groupcache/{name}" for name in package} <= names
    tops = {name.partition("/")[0] for name in names}
    assert len(tops) == 2, f"more than the package and its metadata: {tops}"


def test_wheel_serves_a_cached_read_without_go_and_compiler(wheel: Path, tmp_path: Path, database: str) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    path = path_without(tmp_path / "programs", "go", "gofmt", *COMPILERS)
    run(python, "-m", "pip", "install", wheel, cwd=tmp_path, path=path)
    said = run(python, "-I", "-c", SERVE_A_CACHED_READ, database, cwd=tmp_path, path=path)
    served_from, hits = said.strip().splitlines()[-1].rsplit(" ", 1)
    assert Path(served_from).is_relative_to(tmp_path)
    assert int(hits) >= 1


def test_a_missing_compiler_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    done = subprocess.run(
        [sys.executable, ROOT / "build_backend" / "go_library.py"],
        env={"PATH": str(tmp_path / "programs")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "needs a C compiler" in done.stderr
    assert len(done.stderr.splitlines()) == 1
