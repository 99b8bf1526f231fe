"""An event around a COMMIT: announced before it is sent, settled when its answer has come, or that of ROLLBACK (R9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from guillotina.exceptions import ConflictError, RestartCommit

from guillotina_groupcache.database.connections import TIMEOUT

if TYPE_CHECKING:
    from guillotina_groupcache.utility import GroupcacheUtility

#: SQLSTATE classes and codes after which nobody knows whether a COMMIT took effect: connection exceptions, a
#: statement whose completion is unknown, and a server that is shut down or has crashed (PostgreSQL, appendix A).
_UNANSWERED: Final = ("08", "40003", "57P01", "57P02", "57P03")


class StandIn:
    """Another object in all but what its class has of its own."""

    __slots__ = ("_other",)

    def __init__(self, other: Any) -> None:
        self._own("_other", other)

    def _own(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._other, name, value)


class Answers(StandIn):
    """A connection, as asyncpg's transaction uses it, that keeps the last statement and the server's answer to it.

    PostgreSQL answers COMMIT of a transaction in which a statement has failed with ROLLBACK and no error, and
    asyncpg drops that answer.
    """

    __slots__ = ("_uses", "last", "lost")

    #: The last statement that was sent, and the answer; None: none has come.
    last: tuple[str, str | None]
    #: The event whose COMMIT was sent over the connection and not answered.
    lost: int | None

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._own("_uses", connection._pool_release_ctr)  # as asyncpg's transaction does
        self._own("lost", None)
        self._keep("", None)

    def _keep(self, statement: str, answer: str | None) -> None:
        self._own("last", (statement, answer))

    def lose(self, event: int) -> None:
        """Note that COMMIT was sent for an event and not answered."""
        self._own("lost", event)

    async def execute(self, statement: str) -> str:
        self._keep(statement, None)
        answer: str = await self._other.execute(statement)
        self._keep(statement, answer)
        return answer

    @property
    def commit_was_sent(self) -> bool:
        return self.last[0].startswith("COMMIT")

    async def settle(self, utility: GroupcacheUtility) -> None:
        """After a ROLLBACK: settle the event whose COMMIT was not answered, if the server says that it is over."""
        if self.lost is not None and await self._has_ended():
            utility.settle(self.lost)

    async def _has_ended(self) -> bool:
        """Whether the server has answered ROLLBACK: whatever was sent before over this connection is over."""
        statement, answer = self.last
        if statement.startswith("ROLLBACK") and answer is not None:
            return True
        if self._other._pool_release_ctr != self._uses:
            return False  # it is somebody else's by now
        try:
            # asyncpg sends none after a COMMIT that was given up. If that took effect this one does nothing.
            await asyncio.wait_for(self.execute("ROLLBACK"), TIMEOUT)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.TimeoutError):
            return False
        return True


class Event:
    """An event under way; what is put into `pushes` is given to its owners when it is settled."""

    __slots__ = ("pushes",)

    def __init__(self) -> None:
        self.pushes: list[tuple[bytes, bytes]] = []


@asynccontextmanager
async def announced(
    utility: GroupcacheUtility,
    database: str,
    changed: Iterable[bytes],
    everything: bool = False,
    answers: Answers | None = None,
) -> AsyncIterator[Event]:
    """Announce, run the block, which sends COMMIT, and settle however it ends (R9).

    Where it ends with an error that leaves open whether COMMIT took effect the event stays in doubt until the
    database says that the transaction is over. `answers` tells whether COMMIT was sent at all, and keeps the event.
    """
    number = await utility.announce(database, changed, everything)
    event = Event()
    try:
        yield event
    except BaseException as error:
        if was_answered(error) or (answers is not None and not answers.commit_was_sent):
            utility.settle(number)
        else:
            if answers is not None:
                answers.lose(number)
            utility.lost(number)
        raise
    utility.settle(number, event.pushes)


class Changes:
    """The keys whose values a transaction of our own changes, or everything."""

    __slots__ = ("everything", "keys")

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self.everything = False


@asynccontextmanager
async def announced_transaction(
    utility: GroupcacheUtility, database: str, connection: asyncpg.Connection
) -> AsyncIterator[Changes]:
    """A transaction around the block, which says what it changes: announced after that, and committed.

    Where it changes nothing it is rolled back, and nothing is announced. Raises what the database raises, and
    `GroupcacheError` where it could not be announced; then it is rolled back.
    """
    # Whatever the server's own default: a snapshot that is older than a lock would miss what came between.
    transaction = connection.transaction(isolation="read_committed")
    answers = transaction._connection = Answers(transaction._connection)
    await transaction.start()
    try:
        changes = Changes()
        yield changes
        if not changes.keys and not changes.everything:
            await transaction.rollback()
            return
        async with announced(utility, database, changes.keys, changes.everything, answers):
            await transaction.commit()
    except BaseException:
        # asyncpg refuses after a COMMIT that has failed; the pool takes care of such a connection.
        with suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError, asyncio.TimeoutError):
            await asyncio.wait_for(transaction.rollback(), TIMEOUT)
        await answers.settle(utility)
        raise


def was_answered(error: BaseException) -> bool:
    """Whether an error of COMMIT is the database's own no, so that the transaction is over.

    FATAL and PANIC are none: the session, or the server, has ended, and recovery decides.
    """
    if isinstance(error, (ConflictError, RestartCommit)):
        # Guillotina raises these for what the database has raised, if it was asked at all.
        cause = error.__cause__ or error.__context__
        return cause is None or was_answered(cause)
    if not isinstance(error, asyncpg.PostgresError) or error.severity_en != "ERROR":
        return False
    return not str(error.sqlstate).startswith(_UNANSWERED)
