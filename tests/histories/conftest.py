"""Fixtures of the tests of histories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.histories.checker import compiled


@pytest.fixture(scope="session")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled checker."""
    return compiled(tmp_path_factory.mktemp("checker"))


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], None]]:
    """Prints a line, also when the test passes: measurements are for people, and no test fails because of one."""

    def print_line(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="", flush=True)

    yield print_line
    print_line("")
