"""The notes of outside writes, as one process reads them with its views, and the triggers that write them (R14).

The tension: a writer that uses psql announces nothing, so no process can be asked before its COMMIT. But each process
serves by its last view for no longer than a lease. So the notes are read with the view, in one snapshot, and what they
name is bumped before the view's deadline is published: by each process for itself, to versions that all derive alike.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final

import asyncpg
import msgspec
from guillotina.db.storages.pg import PostgresqlStorage

from guillotina_groupcache.database import notes_table, triggers
from guillotina_groupcache.database.connections import ERRORS, connect
from guillotina_groupcache.database.notes import Note, decode, places_of, split
from guillotina_groupcache.keys import record_keys

logger = logging.getLogger("guillotina_groupcache")

#: Seconds until the next attempt to make the triggers while somebody uses the table: doubled each time, up to a bound.
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0
#: Rows of notes whose keys are made before the event loop gets its turn.
ROWS_AT_ONCE: Final = 100
#: How often a statement is sent where the table of notes comes or goes meanwhile, or notes are summed up.
_ATTEMPTS: Final = 5

#: Only the first row has the notes, however many rows there are.
_SHOW: Final = (
    f"{notes_table.EXIST} AS notes_exist, {triggers.FOUND} AS triggers, {triggers.SHAPE} AS shape,"
    " CASE WHEN row_number() OVER () = 1 THEN {notes} END AS notes"
)


class OutsideWrites:
    """The notes of one database, and its triggers."""

    def __init__(self, database: str, storage: PostgresqlStorage, register: Register) -> None:
        """`register` passes the content of a note to the library (`Node.outside_write`)."""
        self._database = database
        self._storage = storage
        self._register = register
        self._cluster = ""
        self._known: frozenset[int] = frozenset()  # notes that were registered and are still there
        self._notes_exist = True  # the table of notes, as far as is known
        self._unreadable = False
        self._mending: asyncio.Task[None] | None = None
        self._were_right = False  # the triggers, in any look
        #: Whether the triggers were right and no longer are: what is written is not noted, so nothing may be served.
        self.is_blind = False
        self._shape = ""  # the table's when its triggers were last right (`triggers.SHAPE`)

    @property
    def mark(self) -> str:
        """What statements that members announce begin with; empty as long as there is no cluster."""
        return triggers.mark(self._cluster, self._database) if self._cluster else ""

    def serve(self, cluster: str) -> None:
        """From now on the members of this cluster are notified of what is written."""
        self._cluster = cluster

    # --- a look

    async def read(
        self, fetch: Callable[[str], Awaitable[list[asyncpg.Record]]], statement: str, table: str
    ) -> list[asyncpg.Record]:
        """The rows of a statement in which `{outside}` is replaced by what shows the notes and the triggers.

        `table` is the parameter that names the objects table. Where the table of notes has come or gone meanwhile the
        statement is sent again: a view without notes that are there must not count.
        """
        for _ in range(_ATTEMPTS):
            with_notes = self._notes_exist and not self._unreadable
            notes = notes_table.NOTES if with_notes else "NULL::json"
            shown = _SHOW.replace("{notes}", notes).format(schema=self._storage._db_schema, table=table)
            try:
                rows = await fetch(statement.replace("{outside}", shown))
            except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
                if not with_notes:
                    raise
                self._notes_exist = False
                continue
            except asyncpg.InsufficientPrivilegeError as error:
                if not with_notes:
                    raise
                self._unreadable = True
                self._warn(error)
                continue
            if not with_notes and not self._unreadable and rows and rows[0]["notes_exist"]:
                self._notes_exist = True
            elif not with_notes or not rows or not await self._was_summed_up(rows[0]):
                return rows
        raise asyncpg.InterfaceError(f"the notes of {self._database} come and go too fast, or somebody has locked them")

    async def _was_summed_up(self, row: Any) -> bool:
        """Write a note that stands for everything where the notes that a row shows do not suffice; whether it was.

        They do not suffice where they are too many to be shown, nor where, since the last look, DDL has rewritten the
        rows or somebody has changed the triggers, even if these are right again: what was written meanwhile is unknown.
        """
        before, shape = self._shape, row["shape"]
        shown = split(row["notes"])
        if shown is None or len(shown) > notes_table.MAX_READ:
            await self._sum_up()
            return True
        if not shape or not self._are_right(row):
            return False
        if before not in ("", shape):
            note = int.from_bytes(blake2b(f"{self._cluster} {shape}".encode(), digest_size=8).digest(), "big") >> 1
            try:
                await self._note(notes_table.NOTE_EVERYTHING, note)
            except asyncpg.InsufficientPrivilegeError as error:
                self._warn(error)
                before = ""
            else:
                logger.info("groupcache: %s: its table was changed by DDL: everything is bumped", self._database)
        self._shape = shape
        return before not in ("", shape)

    async def _sum_up(self) -> None:
        await self._note(notes_table.SUM_UP)
        logger.debug("groupcache: %s: the notes cannot be read: everything is bumped", self._database)

    async def _note(self, statement: str, *arguments: Any) -> None:
        connection = await connect(self._storage)
        try:
            statement = statement.format(schema=self._storage._db_schema)
            await connection.execute(statement, self._storage.objects_table_name, *arguments)
        finally:
            connection.terminate()

    def _are_right(self, row: Any) -> bool:
        """Whether a row shows that the triggers are as they should be."""
        return bool(row["notes_exist"] and triggers.are_expected(triggers.decode_found(row["triggers"]), self.mark))

    async def take_all(self, connection: asyncpg.Connection) -> None:
        """Read all notes, pass them to the library and delete them: no other process needs them."""
        table = self._storage.objects_table_name
        (row,) = await self.read(lambda statement: connection.fetch(statement, table), "SELECT {outside}", "$1::text")
        self.mend(row)
        if ids := await self.registered(row):
            await connection.execute(notes_table.FORGET.format(schema=self._storage._db_schema), ids)

    async def registered(self, row: Any) -> list[int]:
        """Register the notes that a row shows with the library, unless it knows them. Returns the ids of all of them.

        Raises `LookupError` where they cannot be read, and the view has to be tried again.
        """
        notes = decode(row["notes"])
        if notes is None:
            await self._sum_up()
            raise LookupError("the notes could not be read, and were summed up")
        done = 0
        for note in notes:
            if note.id in self._known:
                continue
            self._register(
                note.id, self._nonce(note), self._keys(note), note.places is None, note.rows, note.application
            )
            done += len(note.places or ())
            if done >= ROWS_AT_ONCE:
                done = 0
                await asyncio.sleep(0)
        self._known = frozenset(note.id for note in notes)
        return [note.id for note in notes]

    async def take(self, connection: asyncpg.Connection) -> tuple[set[bytes], bool]:
        """Take back the notes of a member's own transaction, to announce what they name: its keys, or everything.

        There are notes where the application has sent raw SQL. Those that cannot be taken back are read with the next
        view.
        """
        table = self._storage.objects_table_name
        if not await connection.fetchval(triggers.HAS_NOTED, table):
            return set(), False
        await connection.execute("SAVEPOINT groupcache")
        try:
            rows = await connection.fetch(notes_table.TAKE.format(schema=self._storage._db_schema), table)
        except asyncpg.PostgresError as error:
            logger.debug("groupcache: notes could not be taken back: %r", error)
            await connection.execute("ROLLBACK TO SAVEPOINT groupcache")
            return set(), False
        notes = [
            Note(row["id"], row["application"], row["rows"], row["places"] and places_of(msgspec.Raw(row["places"])))
            for row in rows
        ]
        return set().union(*map(self._keys, notes)), any(note.places is None for note in notes)

    def _keys(self, note: Note) -> set[bytes]:
        keys: set[bytes] = set()
        for zoid, parent, id_, of in note.places or ():
            place = {"zoid": zoid, "parent_id": parent, "id": id_, "of": of}
            keys.update(record_keys(self._database, place, with_lists=True))
        return keys

    def _nonce(self, note: Note) -> int:
        """The number that all processes of the cluster add to the versions for a note: even, and never 0."""
        digest = blake2b(f"{self._cluster} {note.id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") & ~1 or 2

    # --- the triggers

    def mend(self, row: Any) -> None:
        """Make the triggers, in the background, if a row shows that they are not as they should be."""
        if not self._cluster:
            return
        right = self._are_right(row)
        self._were_right = self._were_right or right
        may_mend = self._mending is None or not self._mending.done()  # else the right to make them is missing
        blind = self._were_right and not right and may_mend
        if blind and not self.is_blind:
            logger.warning("groupcache: the database %s is read past the cache: %s", self._database, _WRONG)
        self.is_blind = blind
        if not right and self._mending is None:
            self._mending = asyncio.ensure_future(self._mend())

    async def _mend(self) -> None:
        pause, is_logged = FIRST_PAUSE, False
        while True:
            try:
                await self._install()
            except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError) as error:
                self._warn(error)  # the latter by PostgreSQL 12 and older
                return  # and the task stays, so that nothing is tried again
            except ERRORS as error:
                if not is_logged:
                    is_logged = True
                    logger.warning("groupcache: %s: triggers cannot be made yet: %r", self._database, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                break
        self._mending = None
        logger.info("groupcache: the database %s notes what is written from outside", self._database)

    async def _install(self) -> None:
        connection = await connect(self._storage)
        try:
            storage = self._storage
            await triggers.install(connection, storage._db_schema, storage.objects_table_name, self.mark)
        finally:
            with suppress(*ERRORS):
                await connection.close(timeout=1)

    def _warn(self, error: BaseException) -> None:
        logger.warning(
            "groupcache: what is written to the database %s from outside, as by psql, is seen when `ttl` is over: %s",
            *(self._database, error),
        )

    def end(self) -> list[asyncio.Task[None]]:
        """Stop making triggers; the caller may wait for the tasks that are returned."""
        if self._mending is None:
            return []
        self._mending.cancel()
        return [self._mending]


_WRONG: Final = "somebody has changed the triggers that note what is written from outside"

Register = Callable[[int, int, Iterable[bytes], bool, int, str], None]
