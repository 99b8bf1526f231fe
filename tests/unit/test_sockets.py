"""The sockets of a process without configuration: in a folder of this user's own, or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from guillotina_groupcache.interfaces import ConfigurationError
from guillotina_groupcache.settings import sockets

NAME = "guillotina_groupcache"
REMEDY = "or give listen, for example 127.0.0.1:9000-9255, and a secret"


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of one test. Its path is short: that of a socket has 107 bytes at most."""
    folder = tmp_path_factory.mktemp("t")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a session, which `mktemp` makes with mode 0700."""
    return tmp_path_factory.mktemp("r")


def error(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        sockets.automatic(environ)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("groupcache.listen: ")
    assert message.endswith(REMEDY)
    return message


def test_the_sockets_of_a_session(runtime: Path) -> None:
    found = sockets.automatic({"XDG_RUNTIME_DIR": str(runtime)})
    assert [str(address) for address in found.addresses[:2]] == [f"unix:{runtime}/{NAME}/{i}.sock" for i in (0, 1)]
    assert len(found.addresses) == sockets.SLOTS == len(set(found.addresses))
    assert not found.wildcard and found.ports == ()
    assert stat.S_IMODE((runtime / NAME).stat().st_mode) == 0o700
    assert sockets.automatic({"XDG_RUNTIME_DIR": str(runtime)}) == found


def test_the_folder_is_private_whatever_the_umask(runtime: Path) -> None:
    umask = os.umask(0)
    try:
        sockets.automatic({"XDG_RUNTIME_DIR": str(runtime)})
    finally:
        os.umask(umask)
    assert stat.S_IMODE((runtime / NAME).stat().st_mode) == 0o700


@pytest.mark.parametrize("runtime_dir", [None, "", "run", "/proc/no-such-folder", "/proc/version"])
def test_without_a_session_they_are_among_the_temporary_files(temporary: Path, runtime_dir: str | None) -> None:
    environ = {} if runtime_dir is None else {"XDG_RUNTIME_DIR": runtime_dir}
    own = temporary / f"{NAME}-{os.geteuid()}"
    assert str(sockets.automatic(environ).addresses[0]) == f"unix:{own}/0.sock"
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_session_of_another_user(runtime: Path, temporary: Path) -> None:
    os.chown(runtime, 12345, 12345)
    assert sockets.folder({"XDG_RUNTIME_DIR": str(runtime)}).parent == temporary


def beside(own: Path, environ: dict[str, str], caplog: pytest.LogCaptureFixture) -> Path:
    """The folder that is used instead of an unsafe one: a private one beside it, and the same one every time."""
    found = {Path(str(sockets.automatic(environ).addresses[0]).removeprefix("unix:")).parent for _ in range(3)}
    (path,) = found
    assert path.parent == own.parent and path.name.startswith(f"{own.name}-") and path != own
    assert not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o700 and path.stat().st_uid == os.geteuid()
    (line, *_) = {record.getMessage() for record in caplog.records}
    assert line.startswith(f"groupcache: {own} is not a directory of this user that nobody else can enter (mode 0700)")
    assert str(path) in line and line.endswith(REMEDY)
    return path


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_a_folder_that_others_can_enter(runtime: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    own = runtime / NAME
    own.mkdir()
    own.chmod(mode)
    beside(own, {"XDG_RUNTIME_DIR": str(runtime)}, caplog)
    assert list(own.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_somebody_else_has_made(temporary: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another user has the usual name, and names that might be used instead."""
    own = temporary / f"{NAME}-{os.geteuid()}"
    theirs = [own, own.with_name(f"{own.name}-"), own.with_name(f"{own.name}-0000000")]
    for path in theirs:
        path.mkdir(mode=0o700)
        os.chown(path, 12345, 12345)
    assert beside(own, {}, caplog) not in theirs


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_is_safe_again(temporary: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = temporary / f"{NAME}-{os.geteuid()}"
    own.mkdir(mode=0o700)
    os.chown(own, 12345, 12345)
    beside(own, {}, caplog)
    own.rmdir()
    assert str(sockets.automatic({}).addresses[0]) == f"unix:{own}/0.sock"


def test_a_link_to_a_folder(temporary: Path, runtime: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It may lead anywhere tomorrow; so may one with the name of a folder that would be used instead."""
    own = temporary / f"{NAME}-{os.geteuid()}"
    own.symlink_to(runtime)
    link = own.with_name(f"{own.name}-a")
    link.symlink_to(runtime)
    assert beside(own, {}, caplog) != link
    assert list(runtime.iterdir()) == []


def test_a_file_in_its_place(runtime: Path, caplog: pytest.LogCaptureFixture) -> None:
    (runtime / NAME).write_text("")
    beside(runtime / NAME, {"XDG_RUNTIME_DIR": str(runtime)}, caplog)


def test_no_place_for_temporary_files(temporary: Path) -> None:
    temporary.rmdir()
    assert "cannot be made: No such file or directory" in error({})


def test_a_path_that_is_too_long(runtime: Path) -> None:
    deep = runtime / ("x" * 100)
    deep.mkdir(mode=0o700)
    assert "bytes: give one of at most 107: give another XDG_RUNTIME_DIR or TMPDIR" in error(
        {"XDG_RUNTIME_DIR": str(deep)}
    )
