"""Files have at most 300 lines, and functions outside of the tests at most 40, so that each holds one idea."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE, FUNCTION = 300, 40
FOLDERS = ("benchmarks", "build_backend", "demo", "go", "guillotina_groupcache", "harness", "tests")
#: Lanes go with everything of theirs; the second one is made by the build.
LEFT_OUT = re.compile(r"lane\w*\.go$|_native_abi\.py$")
_GO_FUNCTION = re.compile(r"^func (.+?)\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)


def files() -> list[Path]:
    all_files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*") if path.suffix in (".go", ".py")]
    return [path for path in all_files if not LEFT_OUT.search(path.name)]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions of a file, each with how many lines it has."""
    text = path.read_text()
    if path.suffix == ".go":
        for match in _GO_FUNCTION.finditer(text):
            yield match[1], match[0].count("\n") + 1
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def is_test(path: Path) -> bool:
    return path.name.endswith("_test.go") or "tests" in path.relative_to(ROOT).parts


def test_no_file_is_too_long() -> None:
    found = files()
    assert len(found) > 300
    assert not {str(path): lines for path in found if (lines := path.read_text().count("\n")) > FILE}


def test_no_function_is_too_long() -> None:
    found = [(path, *function) for path in files() if not is_test(path) for function in functions(path)]
    assert len(found) > 1000
    assert not [(str(path), name, lines) for path, name, lines in found if lines > FUNCTION]
