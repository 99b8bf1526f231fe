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


def imported(file: Path) -> Iterator[list[str]]:
    """The modules that a file imports, also inside of functions, each split at its dots."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_only_what_is_below_it(folder: str) -> None:
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    wrong = []
    for file in files:
        name = file.relative_to(ROOT).as_posix()
        forbidden = ALLOWED.keys() - ALLOWED[folder] - {folder, TESTS_OF.get(name)}
        wrong += [f"{name} imports {module[0]}" for module in imported(file) if module[0] in forbidden]
    assert not wrong


def test_suites_do_not_import_each_other() -> None:
    suites = {file.parent.name for file in (ROOT / "tests").glob("*/*.py")}
    assert suites > {"cluster", "unit"}
    wrong = []
    for suite in suites:
        forbidden = [["tests", other] for other in suites - {suite}]
        for file in (ROOT / "tests" / suite).rglob("*.py"):
            wrong += [f"{file.name} imports {module}" for module in imported(file) if module[:2] in forbidden]
    assert not wrong
