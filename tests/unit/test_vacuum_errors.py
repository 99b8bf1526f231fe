"""A deletion is tried again after temporary errors (the vacuum's `_TEMPORARY`), and after no others."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from guillotina_groupcache.interfaces import GroupcacheError
from guillotina_groupcache.vacuum import Trash
from tests.unit.life_app import TIMEOUT


class Attempts(Trash):
    """The first attempt fails, the next one does not."""

    __slots__ = ("count", "error")

    def __init__(self, error: BaseException) -> None:
        nothing: Any = None  # no attempt gets so far that it needs more than names
        super().__init__(SimpleNamespace(vacuum=nothing), nothing)
        self.add("db", SimpleNamespace(objects_table_name="objects"))
        self.error = error
        self.count = 0

    async def _try(self, oid: str, database: str, storage: Any) -> None:
        self.count += 1
        if self.count == 1:
            raise self.error


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        *(
            (error, True)
            for error in (
                GroupcacheError("could not be announced"),
                ConnectionResetError("lost"),
                OSError("no route"),
                asyncio.TimeoutError(),
                asyncio.CancelledError(),
                asyncpg.InterfaceError("connection is closed"),
                asyncpg.ConnectionDoesNotExistError("lost"),
                asyncpg.DeadlockDetectedError("deadlock"),
                asyncpg.SerializationError("conflict"),
                asyncpg.TooManyConnectionsError("too many"),
                asyncpg.DiskFullError("full"),
                asyncpg.AdminShutdownError("shut down"),
                asyncpg.CannotConnectNowError("starting"),
                asyncpg.QueryCanceledError("statement timeout"),
                asyncpg.LockNotAvailableError("lock timeout"),
            )
        ),
        *(
            (error, False)
            for error in (
                asyncpg.ForeignKeyViolationError("wanted"),
                asyncpg.UndefinedTableError("no table"),
                asyncpg.InsufficientPrivilegeError("not allowed"),
                ValueError("a fault of the code"),
            )
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_a_deletion_is_tried_again_after_temporary_errors(
    error: BaseException, temporary: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guillotina_groupcache.vacuum.FIRST_PAUSE", 0.0)
    trash = Attempts(error)
    await asyncio.wait_for(trash.delete("0" * 32, "objects"), TIMEOUT)
    assert trash.count == (2 if temporary else 1)
    assert ("while this lasts" in caplog.text) is temporary
