"""Events: announced before COMMIT is sent, settled when the answer to it, or to ROLLBACK, has come (R3, R9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg

from guillotina_groupcache.answers import Answers, was_answered
from guillotina_groupcache.changes import Changes
from guillotina_groupcache.database.connections import TIMEOUT
from guillotina_groupcache.interfaces import GroupcacheError
from guillotina_groupcache.native import Node
from guillotina_groupcache.requests import Requests
from guillotina_groupcache.settings.role import Role

#: Seconds that a commit waits for its announcement: longer than the lease of a member that does not acknowledge.
ANNOUNCE_TIMEOUT: Final = 30.0

Pushes = list[tuple[bytes, bytes]]  # keys, each with its value


class Events:
    """The events that this process announces."""

    def __init__(self) -> None:
        #: Commits that wait until their event is cleared, by the event's number.
        self.announcements = Requests()
        self._node: Node | None = None
        self._role: Role | None = None
        #: Whether the cache has ended, or its start has failed.
        self.has_ended = False
        self._doubt: int | None = None  # an event over everything, open as long as nothing may be served

    def prepare(self, role: Role | None) -> None:
        """Set the role of this process; None: it is not known yet."""
        self._role, self.has_ended = role, False

    def begin(self, node: Node) -> None:
        """Announce from now on."""
        self._node = node

    def end(self) -> None:
        """Refuse to announce: a member's commits fail from now on, as the others could not learn of them."""
        self._node, self.has_ended = None, True

    async def announce(self, database: str, changed: Iterable[bytes], everything: bool = False) -> int:
        """Announce what a transaction that has written may change; return when COMMIT may be sent (R3).

        The event's number goes to `settle`, or to `lost`, however the transaction ends. Raises `GroupcacheError`
        where the announcement was not acknowledged within `ANNOUNCE_TIMEOUT`: nothing may be committed then, and the
        event is settled already.
        """
        node = self._node
        if node is None:
            if self._role is not Role.MEMBER:
                return 0  # there are no peers, and nothing is cached
            state = "ended" if self.has_ended else "not begun"
            raise GroupcacheError(f"the cache has {state}: a commit could not be announced")
        event = node.announce(database, changed, everything)
        try:
            await asyncio.wait_for(self.announcements.expect(event), ANNOUNCE_TIMEOUT)
        except BaseException as error:
            self.settle(event)
            if isinstance(error, asyncio.TimeoutError):
                raise GroupcacheError(
                    f"a commit could not be announced to all members within {ANNOUNCE_TIMEOUT:.0f} s"
                ) from None
            raise
        finally:
            self.announcements.forget(event)
        return event

    def settle(self, event: int, pushes: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Settle an event: the answer to COMMIT or ROLLBACK has come, or neither was sent."""
        if self._node is not None:
            self._node.settle(event, pushes)

    def lost(self, event: int) -> None:
        """Leave an event in doubt whose COMMIT was not answered: the database will say when it is over (R9)."""
        if self._node is not None:
            self._node.lost(event)

    async def invalidate(self, database: str, changed: Iterable[bytes], everything: bool = False) -> None:
        """Bump the buckets of keys, or all, in the whole cluster, without a transaction."""
        self.settle(await self.announce(database, changed, everything))

    @asynccontextmanager
    async def announced(self, database: str, changes: Changes, answers: Answers | None = None) -> AsyncIterator[Pushes]:
        """Announce, run the block, which sends COMMIT, and settle however it ends (R9).

        What the block adds to the list that it gets is sent to the owners of the keys when the event is settled.
        Where it ends with an error that leaves open whether COMMIT took effect, the event stays in doubt until the
        database says that the transaction is over. `answers` knows whether COMMIT was sent at all, and keeps the event.
        """
        number = await self.announce(database, changes.keys, changes.everything)
        pushes: Pushes = []
        try:
            yield pushes
        except BaseException as error:
            if was_answered(error) or (answers is not None and not answers.commit_was_sent):
                self.settle(number)
            else:
                if answers is not None:
                    answers.lost = number
                self.lost(number)
            raise
        self.settle(number, pushes)

    @asynccontextmanager
    async def transaction(self, database: str, connection: asyncpg.Connection) -> AsyncIterator[Changes]:
        """A database transaction around the block, which adds what it changes; then it is announced and committed.

        Where it changes nothing it is rolled back, and nothing is announced. Raises what the database raises, and
        `GroupcacheError` where it could not be announced; then it is rolled back.
        """
        # The server's default may be stricter: a snapshot older than a lock would miss what was committed in between.
        transaction = connection.transaction(isolation="read_committed")
        answers = transaction._connection = Answers(transaction._connection)
        await transaction.start()
        try:
            changes = Changes()
            yield changes
            if not changes.keys and not changes.everything:
                await transaction.rollback()
                return
            async with self.announced(database, changes, answers):
                await transaction.commit()
        except BaseException:
            # asyncpg refuses a rollback after a COMMIT that has failed; the pool takes care of such a connection.
            with suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError, asyncio.TimeoutError):
                await asyncio.wait_for(transaction.rollback(), TIMEOUT)
            await answers.settle(self.settle)
            raise

    # --- what this process learns of writes that nobody has announced

    def outside_write(
        self, note: int, nonce: int, changed: Iterable[bytes], everything: bool, rows: int, application: str
    ) -> None:
        """Apply a note of a write from outside (`Node.outside_write`)."""
        if self._node is not None:
            self._node.outside_write(note, nonce, changed, everything, rows, application)
            if self._role is Role.ALONE:
                # It takes no views, with which the library would apply the note.
                self._node.settle(self._node.announce("", changed, everything))

    def trust(self, may: bool) -> None:
        """Serve nothing, or serve again: for a process that is alone, which has no deadlines."""
        if self._node is None:
            return
        if may and self._doubt is not None:
            self._node.settle(self._doubt)
            self._doubt = None
        elif not may and self._doubt is None:
            self._doubt = self._node.announce("", (), True)
