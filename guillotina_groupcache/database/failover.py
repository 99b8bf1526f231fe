"""R13: whether a database may have lost commits that it had acknowledged, so that the cache shows what never was.

A look tells who a database is. That is another one after a failover (its timeline is new), where another server stands
behind the same name (its system identifier is), after any restart of a server that acknowledges commits before they are
on the disk, and where another objects table has the name (its OID is): after a restore into a new table, or when
databases or tables were swapped by renaming. A plain restart changes nothing, nor does DDL on the table. A server that
was put back to an earlier state is known by the end of its write-ahead log, which never goes back otherwise.

The cluster's row keeps, for each database, under which identity the members were written: a process that starts later
knows no other way what the members before it have cached.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

#: System identifier and timeline; where a restart may lose commits, also when the server was started. On a standby
#: this is an error, as it should be: what a standby tells may be old.
IDENTITY: Final = """
(SELECT system_identifier FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
|| CASE WHEN 'off' IN (current_setting('synchronous_commit'), current_setting('fsync'))
   THEN '/' || extract(epoch FROM pg_postmaster_start_time()) ELSE '' END
"""
#: Bytes of write-ahead log that are on the disk.
FLUSHED: Final = "pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"
#: The OID of the table that is named by a parameter. It outlives whatever rewrites the table; 0 is no table.
OBJECTS: Final = "coalesce(to_regclass({})::oid::bigint, 0)"

#: Characters of what the cluster's row says of one database, and of the identity in it: more is not read.
MAX_KNOWN: Final = 512
#: What the cluster's row `c` says of databases, which a parameter names; `false` where no member can have written it.
IDENTITIES: Final = f"""
(SELECT json_object_agg(id, CASE WHEN octet_length((c.identities -> id)::text) <= {MAX_KNOWN} THEN c.identities -> id
                            ELSE 'false' END)
 FROM unnest({{}}) AS id WHERE jsonb_typeof(c.identities) <> 'object' OR c.identities ? id)
"""


class Known(NamedTuple):
    """What the cluster's row says of a database."""

    identity: str
    failovers: int  #: how often it may have lost commits


class Look(NamedTuple):
    """What a database has shown of itself."""

    asked: int  #: when the view was asked for with which the look began, by the library's clock
    known: Known | None  #: what the cluster's row had said before, as far as this process knew it
    identity: str
    flushed: int
    row: Any  #: as the database gave it, with what was written from outside


#: In place of what cannot be read: no database has this identity, so everybody will count it as a loss, once.
UNREADABLE: Final = Known("", 0)
_MAX_FAILOVERS: Final = 2**53  # a number that JSON holds


def decode_known(identities: str | None) -> tuple[dict[str, Known], list[str]]:
    """What `IDENTITIES` has shown, by database id, and the ids of those of which it is nothing that a member wrote."""
    known, unreadable = {}, []
    for id_, raw in (msgspec.json.decode(identities, type=dict[str, msgspec.Raw]) if identities else {}).items():
        try:
            known[id_] = msgspec.json.decode(raw, type=Known)
        except ValueError:  # msgspec's errors are of this kind
            unreadable.append(id_)
        else:
            if not 0 <= known[id_].failovers < _MAX_FAILOVERS:
                unreadable.append(id_)
    return known, unreadable


def identity_of(server: str, objects: int) -> str:
    """The identity of a database: its server's, and the OID of its objects table."""
    return f"{server} {objects}"


class Watch:
    """What this process has seen of one database."""

    __slots__ = ("_flushed", "failovers", "identity", "reconnected", "was_elsewhere")

    def __init__(self) -> None:
        #: As it was last seen; empty: it never was.
        self.identity = ""
        #: Whether the connection was made anew since: a server that crashes ends them all, and may keep its identity.
        self.reconnected = False
        #: Whether another cluster has served it since (R15): its commits were announced to nobody here.
        self.was_elsewhere = False
        #: As the cluster's row counted them when the database was looked at last; None: it never was.
        self.failovers: int | None = None
        self._flushed = 0

    def saw(self, look: Look, failovers: int) -> None:
        """Take a look that the cluster's row agrees with, which has counted so many failovers."""
        self.identity, self._flushed, self.reconnected = look.identity, look.flushed, False
        self.was_elsewhere = False
        self.failovers = failovers

    def judge(self, look: Look, known: Known | None) -> Known | None:
        """What the cluster's row should say of a database; one loss more than `known`: everything is renamed.

        None where only a later look can tell: somebody has changed the row since this one began, so it may be older.
        """
        if known is None:
            return Known(look.identity, int(self._was_put_back(look) or self.identity not in ("", look.identity)))
        if look.identity != known.identity:
            return Known(look.identity, known.failovers + 1) if look.known == known else None
        is_new = self.failovers in (None, known.failovers)  # or somebody has counted it since this process looked last
        return Known(look.identity, known.failovers + (is_new and self._was_put_back(look)))

    def _was_put_back(self, look: Look) -> bool:
        """Whether a server that keeps its identity may have lost commits since it was seen last."""
        crashed = bool(self.identity) and self.reconnected and look.identity.count("/") > 1
        return look.flushed < self._flushed or crashed or self.was_elsewhere
