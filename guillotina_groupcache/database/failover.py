"""R13: whether a database may have lost commits that it had acknowledged, so that the cache holds what it does not.

Each look reads the identity of the database. It changes with a failover (the timeline is new), when another server
answers at the same address (its system identifier is another), with any restart of a server that acknowledges commits
before they are on the disk, and when another objects table has the name (its OID is another): after a restore into a
new table, or after databases or tables were swapped by renaming. Neither a plain restart nor DDL on the table changes
it. A server that was put back to an earlier state shows itself by the end of its write-ahead log, which otherwise never
goes back.

The cluster's row holds, for each database, the identity under which the members have cached it: a process that starts
later has no other way to know that.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

#: System identifier and timeline; where a restart may lose commits, also the time at which the server was started. On a
#: standby this is an error, as it should be: what a standby shows may be old.
IDENTITY: Final = """
(SELECT system_identifier FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
|| CASE WHEN 'off' IN (current_setting('synchronous_commit'), current_setting('fsync'))
   THEN '/' || extract(epoch FROM pg_postmaster_start_time()) ELSE '' END
"""
#: Bytes of write-ahead log that are on the disk.
FLUSHED: Final = "pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"
#: The OID of the table that a parameter names; 0: there is none. It stays the same when the table is rewritten.
OBJECTS: Final = "coalesce(to_regclass({})::oid::bigint, 0)"

#: Bytes of what the cluster's row says of one database: an entry that is larger is not read.
MAX_KNOWN: Final = 512
#: What the cluster's row `c` says of the databases that a parameter names; `false` where no member can have written it.
IDENTITIES: Final = f"""
(SELECT json_object_agg(id, CASE WHEN octet_length((c.identities -> id)::text) <= {MAX_KNOWN} THEN c.identities -> id
                            ELSE 'false' END)
 FROM unnest({{}}) AS id WHERE jsonb_typeof(c.identities) <> 'object' OR c.identities ? id)
"""


class Known(NamedTuple):
    """What the cluster's row says of a database."""

    identity: str
    failovers: int  #: how many times it may have lost commits


class Change(NamedTuple):
    """What the cluster's row says of a database, and what it should say instead."""

    id: str
    old: Known | None
    new: Known


class Look(NamedTuple):
    """What a look has found."""

    asked: int  #: when the view was asked for with which the look began, by the library's clock
    known: Known | None  #: what the cluster's row had said before, as far as this process knew
    identity: str  #: of the database: that of its server, and the OID of its objects table
    flushed: int
    row: Any  #: as the database gave it, with the notes of outside writes


#: Replaces an entry that cannot be read. No database has this identity, so it counts as a failover, once.
UNREADABLE: Final = Known("", 0)
_MAX_FAILOVERS: Final = 2**53  # the largest number that JSON can hold exactly


def decode_known(identities: str | None) -> tuple[dict[str, Known], list[str]]:
    """Decode what `IDENTITIES` has shown: by database id, and the ids whose entries no member can have written."""
    known, unreadable = {}, []
    for id_, raw in (msgspec.json.decode(identities, type=dict[str, msgspec.Raw]) if identities else {}).items():
        try:
            known[id_] = msgspec.json.decode(raw, type=Known)
        except ValueError:  # the base class of msgspec's errors
            unreadable.append(id_)
        else:
            if not 0 <= known[id_].failovers < _MAX_FAILOVERS:
                unreadable.append(id_)
    return known, unreadable


class Watch:
    """What this process has seen of one database."""

    def __init__(self) -> None:
        #: As it was when the database was last seen; empty: it never was.
        self.identity = ""
        #: Whether the connection was made again since: a server that crashes ends them all, and may keep its identity.
        self.reconnected = False
        #: Whether another cluster has served it since (R15): its commits were announced to no process of this one.
        self.was_elsewhere = False
        #: As the cluster's row had counted them when the database was last seen; None: it never was.
        self.failovers: int | None = None
        self._flushed = 0

    def saw(self, look: Look, failovers: int) -> None:
        """Remember a look that agrees with the cluster's row, which has counted so many failovers."""
        self.identity, self._flushed, self.reconnected = look.identity, look.flushed, False
        self.was_elsewhere = False
        self.failovers = failovers

    def judge(self, look: Look, known: Known | None) -> Known | None:
        """What the cluster's row should say of a database. With one failover more than in `known` everything is bumped.

        None where this look is no proof: somebody has changed the row since it began, so it may be older.
        """
        if known is None:
            failed_over = self._was_put_back(look) or self.identity not in ("", look.identity)
            return Known(look.identity, 1 if failed_over else 0)
        if look.identity != known.identity:
            return Known(look.identity, known.failovers + 1) if look.known == known else None
        is_counted = self.failovers not in (None, known.failovers)  # by another process, since the last look
        return known if is_counted or not self._was_put_back(look) else Known(known.identity, known.failovers + 1)

    def _was_put_back(self, look: Look) -> bool:
        """Whether a server that keeps its identity may have lost commits since it was seen last."""
        crashed = bool(self.identity) and self.reconnected and look.identity.count("/") > 1
        return look.flushed < self._flushed or crashed or self.was_elsewhere
