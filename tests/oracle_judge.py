"""The judge of R11 and R14: each row that was committed is in its transaction's event, or was noted by the product.

`tests.oracle` gathers what it judges, in processes that have `Judge.environ`.
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
#: Seconds until a server that does not answer is left alone.
CONNECT_TIMEOUT = 3

_TAKE = "DELETE FROM groupcache_test_oracle.writes RETURNING writer, operation, statement, marked, rows, noted"


class Write(NamedTuple):
    """What one committed statement has changed: a row of the table that `tests.oracle` makes."""

    writer: str  #: the number of a member's transaction; empty: another one's
    operation: str
    statement: str
    marked: bool  #: whether the product says of this statement that it is announced
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
    """It judges what the processes of one file have written; each row once."""

    def __init__(self, file: Path) -> None:
        self.environ = {VARIABLE: str(file)}
        #: How many statements were judged that an event has to hold.
        self.judged = 0
        self.file = file
        self._read = 0  # bytes
        self._events: dict[str, Announced] = {}
        self._databases: dict[str, None] = {}

    def judge_all(self) -> list[str]:
        """What is wrong in all databases that the file names; those that are away are left for later."""
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
                del self._databases[dsn]  # it is another one, of the same name
            finally:
                connection.close()
        return faults

    def judge(self, connection: Any) -> list[str]:
        """What is wrong of what was committed to a database since it was judged last."""
        with connection, connection.cursor() as cursor:
            cursor.execute(_TAKE)
            writes = [Write(*row) for row in cursor.fetchall()]
        # An event is in the file before its transaction is committed: so the rows are read first.
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
            told = msgspec.json.decode(line, type=Announced | Installed)
            if isinstance(told, Installed):
                self._databases[told.dsn] = None
            else:
                self._events[told.writer] = told

    def _fault(self, write: Write) -> str:
        event = self._events.get(write.writer) or Announced(write.writer, "?", [], False)
        self.judged += write.marked
        if event.everything or (not write.marked and (write.noted is None or None in write.noted)):
            return ""  # before it has triggers the product notes, when it makes them, that all may have changed
        if write.operation == "TRUNCATE":
            return f"not everything was bumped by {_shown(write)}"
        missing = write.keys(event.database).difference(event.keys)
        if not write.marked:
            missing -= write.noted_keys(event.database)
        if not missing:
            return ""
        return f"{_said(event)} lacks {', '.join(_named(missing))}, which was changed by {_shown(write)}"


def _keys(database: str, place: dict[str, Any], with_lists: bool) -> Iterator[bytes]:
    """The keys by which Guillotina finds a row, and the lists that name it: the product's own way might lack some."""
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


def _said(event: Announced) -> str:
    return "a transaction that has announced nothing" if event.database == "?" else "an event"


def _named(keys: Iterable[bytes]) -> Iterator[str]:
    for _, kind, oid, name in map(decode, sorted(keys)):
        yield f"{kind.name} {oid} {name}".rstrip()


def _shown(write: Write) -> str:
    rows = json.dumps(write.rows[:3])
    return f"{write.operation} of {len(write.rows)} rows by {write.statement!r}: {rows}"
