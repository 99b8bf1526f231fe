"""Tests that the documents name are there: a promise whose test was renamed or removed is noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: What defines a test, or a file of tests, as the documents name it.
_DEFINED = re.compile(r"^(?:func|(?:async )?def) ((?:Test|Fuzz|test_)\w+)\(", re.MULTILINE)
_NAMED = re.compile(r"``((?:Test|Fuzz)[A-Z]\w+|test_\w+)``")
_FILES = re.compile(r"``(tests/[\w/]+(?:\.py)?)``")


@pytest.fixture(scope="module")
def defined() -> set[str]:
    """The names of all tests, Python's and Go's."""
    files = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "go").rglob("*_test.go")]
    return {name for file in files for name in _DEFINED.findall(file.read_text())}


@pytest.mark.parametrize("name", ["security.rst", "coherence.rst"])
def test_tests_that_a_document_names(name: str, defined: set[str]) -> None:
    text = (ROOT / "docs" / name).read_text()
    assert not sorted(set(_NAMED.findall(text)) - defined)
    assert not [file for file in _FILES.findall(text) if not (ROOT / file).exists()]
