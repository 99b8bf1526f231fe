"""The judge of R11 and R14: each committed row is in its transaction's event, or was noted by the product.

`tests.oracle` records what it judges, in processes that have `Judge.environ`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psycopg2

from guillotina_groupcache.keys import Kind, decode, encode
from tests.oracle import VARIABLE, Announced, Installed

APPLICATION = "tests.oracle"
#: Seconds to wait for a server that does not answer.
CONNECT_TIMEOUT = 3

_TAKE = "DELETE FROM groupcache_test_oracle.writes RETURNING writer, operation, statement, marked, rows, noted"


class Write(NamedTuple):
    """A committed statement and its changes: a row of the table that `tests.oracle` creates."""

    writer: str  #: the number of a member's transaction; empty for others
    operation: str
    statement: str
    marked: bool  #: whether the product announces this statement
    rows: list[tuple[dict[str, Any] | None, dict[str, Any] | None]]
    noted: list[list[Any] | None] | None

    def keys(self, database: str) -> set[bytes]:
        """The keys whose values it has changed."""
        keys: set[bytes] = set()
        for old, new in self.rows:
            for place in filter(None, (old, new)):
                keys.update(_keys(database, place, with_lists=old != new))
        return keys

    def noted_keys(self, database: str) -> set[bytes]:
        """The keys that the product's notes of the transaction name."""
        keys: set[bytes] = set()
        for zoid, parent, id_, of in (place for places in self.noted or () for place in places or ()):
            place = {"zoid": zoid, "parent_id": parent, "id": id_, "of": of}
            keys.update(_keys(database, place, with_lists=True))
        return keys


class Judge:
    """The judge of the processes that record in one file; it judges each row once."""

    def __init__(self, file: Path) -> None:
        self.environ = {VARIABLE: str(file)}
        #: How many announced statements were judged.
        self.judged = 0
        self.file = file
        self._read = 0  # bytes
        self._events: dict[str, Announced] = {}
        self._databases: dict[str, None] = {}

    def judge_all(self) -> list[str]:
        """Return the faults in all databases that the file names; those that do not answer are left for later."""
        self._read_file()
        faults = []
        for dsn in list(self._databases):
            try:
                connection = psycopg2.connect(dsn, connect_timeout=CONNECT_TIMEOUT)
            except psycopg2.OperationalError as error:
                if "does not exist" in str(error):
                    del self._databases[dsn]  # it was judged before it was dropped
                continue
            try:
                faults += self.judge(connection)
            except psycopg2.errors.UndefinedTable:
                del self._databases[dsn]  # another database has that name now
            finally:
                connection.close()
        return faults

    def judge(self, connection: Any) -> list[str]:
        """Return the faults of what was committed to a database since it was judged last."""
        with connection, connection.cursor() as cursor:
            cursor.execute(_TAKE)
            writes = [Write(*row) for row in cursor.fetchall()]
        # An event is in the file before its transaction is committed, so the rows are read first.
        self._read_file()
        return [fault for write in writes if (fault := self._fault(write))]

    def _read_file(self) -> None:
        if not self.file.exists():
            return
        with self.file.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            entry = msgspec.json.decode(line, type=Announced | Installed)
            if isinstance(entry, Installed):
                self._databases[entry.dsn] = None
            else:
                self._events[entry.writer] = entry

    def _fault(self, write: Write) -> str:
        event = self._events.get(write.writer) or Announced(write.writer, "?", [], False)
        self.judged += write.marked
        if event.everything or (not write.marked and (write.noted is None or None in write.noted)):
            return ""  # when the product creates its triggers, it notes that everything may have changed before
        if write.operation == "TRUNCATE":
            return f"not everything was bumped by {_shown(write)}"
        missing = write.keys(event.database).difference(event.keys)
        if not write.marked:
            missing -= write.noted_keys(event.database)
        if not missing:
            return ""
        return f"{_subject(event)} lacks {', '.join(_named(missing))}, which was changed by {_shown(write)}"


def _keys(database: str, place: dict[str, Any], with_lists: bool) -> Iterator[bytes]:
    """The keys by which Guillotina finds a row, and of the lists that name it, without the product's own code."""
    yield encode(database, Kind.OBJECT, place["zoid"])
    for owner, named, lists in (
        (place["parent_id"], Kind.CHILD, (Kind.KEYS, Kind.LEN)),
        (place["of"], Kind.ANNOTATION, (Kind.ANNOTATION_KEYS,)),
    ):
        if owner is not None:
            if place["id"] is not None:
                yield encode(database, named, owner, place["id"])
            if with_lists:
                yield from (encode(database, list_, owner) for list_ in lists)


def _subject(event: Announced) -> str:
    return "a transaction that has announced nothing" if event.database == "?" else "an event"


def _named(keys: Iterable[bytes]) -> Iterator[str]:
    for _, kind, oid, name in map(decode, sorted(keys)):
        yield f"{kind.name} {oid} {name}".rstrip()


def _shown(write: Write) -> str:
    rows = json.dumps(write.rows[:3])
    return f"{write.operation} of {len(write.rows)} rows by {write.statement!r}: {rows}"
