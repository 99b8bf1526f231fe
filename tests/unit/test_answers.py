"""What an error of COMMIT says: the database has refused it, or nobody knows whether it took effect (R9)."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from guillotina.exceptions import ConflictError, RestartCommit, TIDConflictError

from guillotina_groupcache.answers import was_answered
from tests.unit.life_database import connected


@pytest.mark.parametrize(
    ("sqlstate", "answered"),
    [
        *((state, True) for state in ("23505", "40001", "40P01", "P0001", "53100", "57014", "25P02", "0A000")),
        *((state, False) for state in ("08000", "08003", "08006", "40003", "57P01", "57P02", "57P03")),
    ],
)
async def test_an_error_of_the_database(database: str, sqlstate: str, answered: bool) -> None:
    async with connected(database) as connection:
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{sqlstate}'; END $$")
    assert caught.value.sqlstate == sqlstate
    assert was_answered(caught.value) is answered


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("unexpected"),
        ConnectionResetError(),
        OSError("no route"),
        asyncio.TimeoutError(),
        asyncio.CancelledError(),
        EOFError(),
    ],
    ids=repr,
)
def test_an_error_that_is_no_answer(error: BaseException) -> None:
    assert not was_answered(error)


@pytest.mark.parametrize("kind", [ConflictError, TIDConflictError, RestartCommit])
def test_guillotinas_own_errors_are_answers(kind: type[Exception]) -> None:
    assert was_answered(kind.__new__(kind))


@pytest.mark.parametrize("raised", ["__cause__", "__context__"])
def test_guillotinas_own_error_for_an_error_that_is_no_answer_is_no_answer(raised: str) -> None:
    error = ConflictError.__new__(ConflictError)
    setattr(error, raised, ConnectionResetError("lost"))
    assert not was_answered(error)


@pytest.mark.parametrize(("severity", "answered"), [("ERROR", True), ("FATAL", False), ("PANIC", False)])
def test_only_an_error_is_an_answer(severity: str, answered: bool) -> None:
    """After FATAL or PANIC in COMMIT recovery decides."""
    error = asyncpg.PostgresError.new({"S": "FEHLER", "V": severity, "C": "XX000", "M": "could not write"})
    assert was_answered(error) is answered
