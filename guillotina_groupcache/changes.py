"""What a transaction changes: every key whose value it can change, for its event (R11), and what it pushes (R8)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, NamedTuple

from guillotina.const import TRASHED_ID

from guillotina_groupcache import keys, records
from guillotina_groupcache.database.members import Members
from guillotina_groupcache.interfaces import RecordError
from guillotina_groupcache.keys import Kind, object_keys, place_keys, record_keys, stored_oid
from guillotina_groupcache.reads import Reads
from guillotina_groupcache.settings.role import is_referee
from guillotina_groupcache.throttled import Throttled

_throttled: Final = Throttled(logging.getLogger("guillotina_groupcache"))

#: Bytes of what one transaction has written that are pushed to the owners; the rest is loaded when it is read.
MAX_PUSHED: Final = 8 * 1024 * 1024

_PLACES: Final = "SELECT zoid, tid, parent_id, id, of FROM {table} WHERE zoid = ANY($1)"
#: As strong as the write that follows, and no stronger: inserting children is not held up.
_LOCK: Final = " ORDER BY zoid FOR NO KEY UPDATE"
#: Rows without a place or a state, as Guillotina inserts them for blobs of objects that have no row yet
#: (guillotina/db/storages/pg.py). Only those that were not there before are returned.
_STUBS: Final = """
INSERT INTO {table} (zoid, tid, state_size, part, resource, type)
SELECT zoid, -1, 0, 0, TRUE, 'stub' FROM unnest($1::text[]) AS zoid ORDER BY zoid
ON CONFLICT DO NOTHING RETURNING zoid
"""


def stubs(mark: str, table: str) -> str:
    """The statement that inserts stubs of objects, whose ids are its parameter, and returns those that had no row."""
    return mark + _STUBS.format(table=table)


class Changes:
    """The keys whose values a transaction changes, or everything."""

    __slots__ = ("everything", "keys")

    def __init__(self, keys: Iterable[bytes] = (), everything: bool = False) -> None:
        self.keys = set(keys)
        self.everything = everything

    def add(self, keys: Iterable[bytes], everything: bool = False) -> None:
        """Add keys, or everything."""
        self.keys.update(keys)
        self.everything |= everything


class Stored(NamedTuple):
    """An object as Guillotina's storage writes it; the object itself may have got another id since."""

    oid: str
    ob: Any
    writer: Any  #: its `IWriter`


class Writes:
    """What one transaction writes, from its first statement that writes to its end."""

    def __init__(
        self,
        transaction: Any,
        database: str,
        reads: Reads,
        members: Members,
        seen: dict[str | None, Any] | None = None,
        near_hit: Callable[[Hashable], Any] | None = None,
    ) -> None:
        """`seen` are the records that the transaction has read, by object id; `near_hit` looks up a near entry."""
        self._transaction = transaction
        self._database = database
        self._reads = reads
        self._members = members
        self._seen = {} if seen is None else seen
        self._near_hit = near_hit
        #: The rows as they were before the transaction wrote them, by object id; None: there was no row.
        self._places: dict[str, Any] = {}
        #: The versions of objects' keys just before the database was found to have no row of theirs.
        self._absent: dict[str, int | None] = {}
        #: The objects whose places need no lookup any more.
        self._known: set[str] = set()
        #: The records that were read of objects before the first statement that writes.
        self._read_before: dict[str, Any] = {}
        self._stored: dict[str, Any] = {}
        self._storing: Stored | None = None
        self._stubs: set[str] = set()
        #: The places to which objects were written: of, parent, id.
        self._written: dict[str, tuple[str | None, str | None, str | None]] = {}
        self._stay: set[str] = set()
        #: How many statements `store` and `delete` have sent, those of this module included.
        self.statements = 0
        self._pushes: dict[str, records.Record] = {}
        self._pushed_bytes = 0

    # --- before a statement that writes

    async def look_up(self, storage: Any, stored: Stored | None = None, deleted: str | None = None) -> None:
        """Read the places of the rows that are about to be written, unless they are known.

        Guillotina's UPDATE of an object demands the `tid` with which it was read, so the row is where it was read,
        or in the trash. Its upsert and its deletion demand nothing: for them the row is read under the lock that they
        are about to take, on the transaction's own connection. A second connection could wait for a lock that the
        first one holds, and PostgreSQL cannot see such a deadlock.
        """
        transaction = self._transaction
        if stored is not None:
            self._storing = stored
            self._stored[stored.oid] = stored.ob
        if not is_referee(storage):
            return
        if deleted is not None:
            await self._read_places(storage, {*transaction.deleted, deleted}, _LOCK)
            return
        upserted, updated = set(), set()
        for oid, ob in {**transaction.added, **transaction.modified, **self._stored}.items():
            if oid in self._known:
                continue
            self._known.add(oid)
            seen = self._seen.get(stored_oid(oid))
            if seen is not None:
                self._read_before[oid] = seen
            if ob.__new_marker__ or ob.__serial__ is None:
                upserted.add(oid)
            elif seen is None or seen["tid"] != ob.__serial__:
                updated.add(oid)
        await self._read_places(storage, upserted, _LOCK, inserts=True)
        await self._read_places(storage, updated)

    async def _read_places(self, storage: Any, oids: Iterable[str], lock: str = "", inserts: bool = False) -> None:
        unknown = [oid for oid in map(stored_oid, oids) if oid not in self._places]
        if not unknown:
            return
        versions = {oid: self._version(oid) for oid in unknown} if lock else {}
        table = storage.objects_table_name
        statement = _PLACES.format(table=table) + lock
        async with storage.acquire(self._transaction, "groupcache_places") as connection:
            rows = await connection.fetch(statement, unknown)
            absent = set(unknown).difference(row["zoid"] for row in rows) if lock else set()
            if inserts and (unversioned := [oid for oid in absent if versions[oid] is None]):
                # This process is bypassing, so no version will show whether another process inserts such a row
                # meanwhile. A stub does: inserting it waits for a row that is being inserted, and holds up later ones.
                insert = stubs(self._members.mark_of(storage), table)
                own = {row["zoid"] for row in await connection.fetch(insert, unversioned)}
                rows += await connection.fetch(statement, [oid for oid in unversioned if oid not in own])
                absent.difference_update(unversioned)
        self._places.update(dict.fromkeys(unknown))
        self._places.update({row["zoid"]: row for row in rows})
        self._absent.update({oid: versions[oid] for oid in absent})

    def may_lack(self, oid: str) -> bool:
        """Whether the database may have no row of an object yet, as far as this transaction knows."""
        return stored_oid(oid) not in self._seen and self._places.get(stored_oid(oid)) is None

    def stub(self, oid: str) -> None:
        """Add an object for which the transaction may insert a row without a place or a state."""
        self._stubs.add(oid)

    def _version(self, oid: str) -> int | None:
        return self._reads.version(keys.encode(self._database, Kind.OBJECT, oid))

    def conflicts(self) -> list[Any]:
        """The rows of modified objects that a later transaction had written: Guillotina's `get_conflicts`.

        Guillotina's query runs on another connection, where it could wait for a transaction that waits for this one.
        On this connection it would find nothing: every row that was written carries the transaction's own `tid` by
        now. What it is meant to find is known: an UPDATE has demanded the `tid`, and the row of an upsert was read.
        """
        modified, tid = self._transaction.modified, self._transaction._tid
        rows = (self._places.get(stored_oid(oid)) for oid in modified)
        return [row for row in rows if row is not None and row["tid"] > tid]

    # --- after it

    def push(self, pickled: bytes) -> None:
        """Add the record of the object that is being written to what is pushed."""
        if self._storing is None:
            return
        oid, _, writer = self._storing
        # An earlier statement of the transaction may have written the same row.
        self._pushes.pop(stored_oid(oid), None)
        if self._pushed_bytes + len(pickled) <= MAX_PUSHED:
            self._pushed_bytes += len(pickled)
            self._pushes[stored_oid(oid)] = records.pushed(oid, pickled, self._transaction._tid, writer)

    def wrote(self, stored: Stored) -> None:
        """Add the place to which an object was written."""
        oid, _, writer = stored
        self._storing = None
        self._written[oid] = writer.of, writer.parent_id, writer.id
        if self._stays(oid):
            self._stay.add(oid)
        else:
            self._stay.discard(oid)

    def _stays(self, oid: str) -> bool:
        """Whether an object that has just been written is where it was, so that no list that names it changes.

        The tension: a list that is not bumped may stay stale, and a list that is bumped in vain is loaded again after
        every change of a child. The record that the transaction has read says where the object was; but another
        transaction may have deleted it since, which leaves its `tid`, so that Guillotina's UPDATE puts it back. So the
        record must be a near hit even now, when the write has locked the row: a transaction that changed the row
        before has announced it here (R3), and its bump ends the near hits.
        """
        read, (of, parent, name) = self._read_before.get(oid), self._written[oid]
        if read is None or self._near_hit is None or (read["of"], read["parent_id"], read["id"]) != (of, parent, name):
            return False
        asked = (of, name, "annotation") if of else (parent, name, None)
        return self._near_hit(asked) is read or self._near_hit(oid) is read

    # --- at the end

    def changes(self) -> Changes:
        """What the transaction can have changed."""
        transaction, database, changes = self._transaction, self._database, Changes()
        changes.add(keys.encode(database, Kind.OBJECT, oid) for oid in self._stubs)
        for objects in (self._stored, transaction.added, transaction.modified, transaction.deleted):
            for oid, ob in objects.items():
                moves = not self._stays_until_commit(oid)
                changes.keys.add(keys.encode(database, Kind.OBJECT, oid))
                changes.add(object_keys(database, ob, with_lists=moves))
                names = {ob.__name__, getattr(ob, "id", None)}
                for read in filter(None, (self._read_before.get(oid), self._seen.get(stored_oid(oid)))):
                    changes.add(record_keys(database, read, with_lists=moves))
                    names.add(read["id"])
                if (place := self._places.get(stored_oid(oid))) is not None:
                    names.add(place["id"])
                if moves and (objects is transaction.deleted or oid not in transaction.added):
                    # A deletion puts the row into the trash, and a change may take it out again.
                    changes.add(place_keys(database, None, TRASHED_ID, names, with_lists=True))
        for oid, (of, parent, name) in self._written.items():
            moves = not self._stays_until_commit(oid)
            changes.add(place_keys(database, of, parent, {name}, with_lists=moves))
        for row in filter(None, self._places.values()):
            changes.add(record_keys(database, row, with_lists=True))
        changes.everything = self._may_be_anything()
        return changes

    def _stays_until_commit(self, oid: str) -> bool:
        # An object that was changed may be deleted after that, and one that was deleted be registered again.
        deleted = oid in self._transaction.deleted
        return oid in self._stay and oid in self._transaction.modified and not deleted

    def _may_be_anything(self) -> bool:
        """Whether a row may have been written whose earlier place is not known.

        An upsert may have met a row that another transaction has inserted since the lookup, and moved it. A member
        would have announced that row here too (R3), so the version shows it.
        """
        transaction = self._transaction
        if not is_referee(transaction.storage):
            written = {*self._stored, *transaction.added, *transaction.modified}
            return bool(transaction.deleted) or any(stored_oid(oid) not in self._seen for oid in written)
        return any(version is None or self._version(oid) != version for oid, version in self._absent.items())

    def pushes(self) -> Iterable[tuple[list[bytes], bytes]]:
        """The records that the transaction has written: the keys under which each is found, and its byte form."""
        deleted = set(map(stored_oid, self._transaction.deleted))
        for record in self._pushes.values():
            if record["zoid"] in deleted:
                continue  # Guillotina stores all changed objects before it deletes the deleted ones
            try:
                yield list(record_keys(self._database, record)), records.encode(record)
            except RecordError as error:
                _throttled.warning("record", "groupcache: not pushed: %s", error)
