"""The word lint finds what it is there for, and leaves ordinary English alone."""

from __future__ import annotations

import pytest

from tests.lint_words import Compiled, in_path, in_text, read_table, spelled

TABLE = read_table()


def everywhere(term: Compiled) -> str:
    """A path of Go code to which the term applies."""
    only = term.term.only[0]
    return only.replace("*", "example.go") if "*" in only else only


@pytest.mark.parametrize("term", TABLE.terms, ids=lambda term: term.term.was)
def test_a_term(term: Compiled) -> None:
    """It has examples of what is found and of what stays, and both are as they say."""
    alone, path = TABLE._replace(terms=[term]), everywhere(term)
    assert term.term.found and term.term.passed
    assert [text for text in term.term.found if not list(in_text(path, text, alone))] == []
    assert [text for text in term.term.passed if list(in_text(path, text, alone))] == []


def test_identifiers_are_spelled_out() -> None:
    assert spelled("isInStanding IN_STANDING in_standing TestHTTPServer") == (
        "is in standing in standing in standing test http server"
    )


def test_a_message_names_file_line_term_and_what_to_write() -> None:
    text = "# one\n# a process that is in standing\n"
    assert list(in_text("guillotina_groupcache/example.py", text, TABLE)) == [
        "guillotina_groupcache/example.py:2: standing → serving, bypassing"
    ]


def test_names_of_files_are_looked_at() -> None:
    for path in ("go/internal/coherence/why.go", "go/internal/cache/soon_test.go", "guillotina_groupcache/losses.py"):
        assert len(list(in_path(path, TABLE))) == 1, path
    for path in ("go/internal/coherence/explain.go", "guillotina_groupcache/settings/role.py", "docs/words.rst"):
        assert not list(in_path(path, TABLE)), path


def test_the_changelog_may_list_a_rename() -> None:
    assert not list(in_text("CHANGELOG.rst", "* ``in_standing`` → ``serving``\n", TABLE))
    assert list(in_text("CHANGELOG.rst", "* a process that is in standing\n", TABLE))
    assert list(in_text("README.rst", "* ``in_standing`` → ``serving``\n", TABLE))


def test_a_term_may_be_sought_in_some_places_only() -> None:
    line = "for name in names:"
    assert list(in_text("go/internal/cache/group.go", line, TABLE))
    assert not list(in_text("guillotina_groupcache/api.py", line, TABLE))
    assert list(in_text("docs/coherence.rst", "every question", TABLE))
    assert not list(in_text("benchmarks/__main__.py", "every question", TABLE))
