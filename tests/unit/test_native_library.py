"""A library that cannot be loaded is an error of one line."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guillotina_groupcache import native
from guillotina_groupcache.interfaces import LibraryError
from guillotina_groupcache.native import Node
from tests.unit.life_node import ALONE


@pytest.fixture
def not_loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """A function that makes this process look as if it had not loaded the library yet, and has it look at a path."""

    def look_at(path: Path) -> None:
        monkeypatch.setattr(native, "_loaded", None)
        monkeypatch.setattr(native, "LIBRARY", path)

    yield look_at


def refused() -> str:
    with pytest.raises(LibraryError) as caught:
        Node(ALONE)
    message = str(caught.value)
    assert "\n" not in message
    assert re.match(r"cannot load lib\w+\.so: .", message), message
    return message


def test_a_missing_library(not_loaded: Callable[[Path], None], tmp_path: Path) -> None:
    not_loaded(tmp_path / "libmissing.so")
    assert "No such file" in refused()


def test_a_library_that_is_none(not_loaded: Callable[[Path], None], tmp_path: Path) -> None:
    library = tmp_path / "libgarbage.so"
    for content in (b"", b"\0" * 5000, b"<html>Not Found</html>" * 100):
        library.write_bytes(content)
        not_loaded(library)
        refused()


def test_a_library_of_another_machine(not_loaded: Callable[[Path], None], tmp_path: Path) -> None:
    library = tmp_path / "libother.so"
    content = bytearray(native.LIBRARY.read_bytes())
    assert content[:4] == b"\x7fELF"
    content[18:20] = struct.pack("<H", 2)  # e_machine: SPARC
    library.write_bytes(content)
    not_loaded(library)
    refused()


def test_a_directory_for_a_library(not_loaded: Callable[[Path], None], tmp_path: Path) -> None:
    library = tmp_path / "libdirectory.so"
    library.mkdir()
    not_loaded(library)
    refused()


def test_a_package_that_was_not_built(not_loaded: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    not_loaded(native.LIBRARY)
    monkeypatch.setitem(sys.modules, "guillotina_groupcache._native_abi", None)
    refused()
