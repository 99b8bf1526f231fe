"""Folders import downwards: what starts processes knows none of its users, and its users do not know each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: By folder, the others of these folders that it may import.
ALLOWED: dict[str, set[str]] = {
    "guillotina_groupcache": set(),
    "harness": set(),
    "demo": {"harness"},
    "benchmarks": {"guillotina_groupcache", "harness"},
    "tests": {"guillotina_groupcache", "harness"},
}
#: A test of another folder's own functions imports it.
TESTS_OF = {"tests/unit/test_benchmarks.py": "benchmarks"}


def imported(source: str) -> Iterator[str]:
    """The top-level packages that a module imports, also inside of functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_only_what_is_below_it(folder: str) -> None:
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    wrong = []
    for file in files:
        name = file.relative_to(ROOT).as_posix()
        forbidden = ALLOWED.keys() - ALLOWED[folder] - {folder, TESTS_OF.get(name)}
        wrong += [f"{name} imports {package}" for package in imported(file.read_text()) if package in forbidden]
    assert not wrong
