"""What `groupcache-uninstall` finds in a configuration, and that the manual's SQL does the same."""

from __future__ import annotations

from pathlib import Path

from guillotina_groupcache.database.uninstall import Schema, schemas, statements

MANUAL = Path(__file__).parents[2] / "docs" / "operating.rst"


def test_the_manual_says_the_same_in_sql() -> None:
    _, _, after = MANUAL.read_text().partition("    SET LOCAL lock_timeout = '2s';\n")
    shown, _, _ = after.partition("    COMMIT;\n")
    assert [line.strip() for line in shown.splitlines()] == [
        f"{statement};" for statement in statements("public", ["public.objects"])
    ]


def test_triggers_go_before_what_they_use() -> None:
    """So do those of several tables in one schema, which share the functions."""
    removing = statements("s", ["s.one", "s.two"])
    assert len(set(removing)) == len(removing)
    kinds = [statement.split()[1] for statement in removing]
    assert kinds == sorted(kinds, key=["TRIGGER", "FUNCTION", "TABLE"].index)
    assert {statement.split()[-1] for statement in removing if "TRIGGER" in statement} == {"s.one", "s.two"}


def test_the_schemas_of_a_configuration() -> None:
    parts = {"scheme": "postgresql", "user": "u", "password": "p", "host": "h", "port": 5, "dbname": "d"}
    dsn = "postgresql://u:p@h:5/d"
    found = schemas(
        {
            "databases": [
                {"a": {"storage": "postgresql", "dsn": dsn, "server_settings": {"x": "y"}}},
                {"b": {"storage": "postgresql", "dsn": parts, "objects_table_name": "others"}},
                {"c": {"storage": "postgresql", "dsn": dsn, "db_schema": "mine"}},
                {"d": {"storage": "DUMMY"}},
                {"e": {"storage": "cockroach", "dsn": dsn}},
            ]
        }
    )
    options = {"server_settings": {"x": "y"}}
    assert found == (
        [
            Schema(("a", "b"), dsn, options, "public", ("public.objects", "public.others")),
            Schema(("c",), dsn, {}, "mine", ("mine.objects",)),
        ],
        ["d", "e"],
    )
    assert schemas({}) == schemas({"databases": None}) == ([], [])
