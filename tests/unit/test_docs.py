"""Tests, files and functions that the documents name are there: one that was renamed or removed is noticed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from docutils.core import publish_doctree

from guillotina_groupcache.metrics import COUNTERS, GAUGES
from guillotina_groupcache.settings.model import Settings

ROOT = Path(__file__).resolve().parents[2]
#: What defines a test, or a file of tests, as the documents name it.
_DEFINED = re.compile(r"^(?:func|(?:async )?def) ((?:Test|Fuzz|test_)\w+)\(", re.MULTILINE)
_NAMED = re.compile(r"``((?:Test|Fuzz)[A-Z]\w+|test_\w+)``")
_FILES = re.compile(r"``(tests/[\w/]+(?:\.py)?)``")
#: A file of code and, in brackets behind it, what is in it; `py:` is short for the package.
_CODE = re.compile(r"``(?:py:)?([\w/]+\.(?:go|py|toml))``(?:\s+\(((?:``\w+``(?:,\s+)?)+)\))?")


@pytest.fixture(scope="module")
def defined() -> set[str]:
    """The names of all tests, Python's and Go's."""
    files = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "go").rglob("*_test.go")]
    return {name for file in files for name in _DEFINED.findall(file.read_text())}


@pytest.mark.parametrize("path", [*ROOT.glob("*.rst"), *ROOT.glob("docs/*.rst")], ids=lambda path: path.name)
def test_a_document_is_well_formed(path: Path) -> None:
    """A table whose columns do not fit, for instance, would be shown as an error."""
    publish_doctree(path.read_text(), settings_overrides={"report_level": 2, "halt_level": 2})


@pytest.mark.parametrize("name", ["security.rst", "coherence.rst"])
def test_tests_that_a_document_names(name: str, defined: set[str]) -> None:
    text = (ROOT / "docs" / name).read_text()
    assert not sorted(set(_NAMED.findall(text)) - defined)
    assert not [file for file in _FILES.findall(text) if not (ROOT / file).exists()]


@pytest.mark.parametrize("name", ["CONTRIBUTING.rst", *(f"docs/{name}.rst" for name in ("coherence", "index"))])
def test_code_that_a_document_names(name: str) -> None:
    folders = ("go", "guillotina_groupcache", "harness", "tests", "demo", "benchmarks", "build_backend")
    files = [
        file for folder in folders for file in (ROOT / folder).rglob("*.*") if file.suffix in (".go", ".py", ".toml")
    ]
    files.append(ROOT / "pyproject.toml")
    missing = []
    for path, inside in _CODE.findall((ROOT / name).read_text()):
        found = [file.read_text() for file in files if f"/{file}".endswith(f"/{path}")]
        for word in re.findall(r"\w+", inside) or [""]:
            if not any(re.search(rf"\b{word}\b", text) for text in found):
                missing.append(f"{path} {word}".strip())
    assert not missing


def test_every_statistic_metric_and_setting_is_documented() -> None:
    files = ("node/stats.go", "coherence/events.go", "store/store.go", "bridge/outside_totals.go")
    text = "".join((ROOT / "go/internal" / file).read_text() for file in files)
    statistics = set(re.findall(r'json:"(\w+)', text))
    operating, readme = ((ROOT / name).read_text() for name in ("docs/operating.rst", "README.rst"))
    assert len(statistics) > 30
    assert not sorted(name for name in statistics if f"``{name}``" not in operating)
    metrics = {f"{name}_total" for name in COUNTERS} | set(GAUGES)
    assert not sorted(name for name in metrics if f"``{name}``" not in operating)
    assert not sorted(field.name for field in _settings() if f"\n``{field.name}``" not in readme)


def _settings() -> list[dataclasses.Field[object]]:
    """The keys of the section; `explicit` and `server` follow from them."""
    return [field for field in dataclasses.fields(Settings) if field.name not in ("explicit", "server")]
