"""What the server answers to COMMIT, and what an error of COMMIT says about it (R8, R9)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import asyncpg
from guillotina.exceptions import ConflictError, RestartCommit

from guillotina_groupcache.database.connections import TIMEOUT

#: SQLSTATE classes and codes after which nobody knows whether a COMMIT took effect: connection exceptions, a
#: statement whose completion is unknown, and a server that is shut down or has crashed (PostgreSQL, appendix A).
_UNANSWERED: Final = ("08", "40003", "57P01", "57P02", "57P03")


class StandIn:
    """Stands in for another object: what the class does not define itself is the other's."""

    __slots__ = ("_other",)

    def __init__(self, other: Any) -> None:
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            setattr(self._other, name, value)


class Answers(StandIn):
    """A connection, as asyncpg's transaction uses it, that keeps the last statement and the server's answer to it.

    PostgreSQL answers COMMIT of a transaction in which a statement has failed with ROLLBACK and no error, and
    asyncpg drops that answer.
    """

    __slots__ = ("_uses", "last", "lost")

    #: The last statement that was sent, and its answer; None while there is none.
    last: tuple[str, str | None]
    #: The event whose COMMIT was sent over the connection and not answered.
    lost: int | None

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._uses = connection._pool_release_ctr  # as asyncpg's transaction does
        self.last, self.lost = ("", None), None

    async def execute(self, statement: str) -> str:
        self.last = statement, None
        answer: str = await self._other.execute(statement)
        self.last = statement, answer
        return answer

    @property
    def commit_was_sent(self) -> bool:
        return self.last[0].startswith("COMMIT")

    async def settle(self, settle: Callable[[int], None]) -> None:
        """After a ROLLBACK: settle the event whose COMMIT was not answered, if the server says that it is over."""
        if self.lost is not None and await self._has_ended():
            settle(self.lost)

    async def _has_ended(self) -> bool:
        """Whether the server has answered ROLLBACK: then every statement before it on this connection is over."""
        statement, answer = self.last
        if statement.startswith("ROLLBACK") and answer is not None:
            return True
        if self._other._pool_release_ctr != self._uses:
            return False  # the pool has given it to another task by now
        try:
            # asyncpg sends no ROLLBACK after a COMMIT that was cancelled. If that took effect this one does nothing.
            await asyncio.wait_for(self.execute("ROLLBACK"), TIMEOUT)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.TimeoutError):
            return False
        return True


def was_answered(error: BaseException) -> bool:
    """Whether an error of COMMIT is the database's own refusal, so that the transaction is over.

    FATAL and PANIC are no refusals: the session, or the server, has ended, and recovery decides.
    """
    if isinstance(error, (ConflictError, RestartCommit)):
        # Guillotina raises these instead of the database's errors, and also before it has sent anything.
        cause = error.__cause__ or error.__context__
        return cause is None or was_answered(cause)
    if not isinstance(error, asyncpg.PostgresError) or error.severity_en != "ERROR":
        return False
    return not str(error.sqlstate).startswith(_UNANSWERED)
