"""R13: whether a database may have lost commits that it had acknowledged, so that the cache shows what never was.

Every reading of the members table tells who the database is. That is another one after a failover (its timeline
is new), where another server stands behind the same name (its system identifier is), and after any restart of a
server that acknowledges commits before they are on the disk. A plain restart changes nothing. A server that was
put back to an earlier state is known by the end of its write-ahead log, which never goes back otherwise.
"""

from __future__ import annotations

from typing import Final

#: System identifier and timeline; where a restart may lose commits, also when the server was started. On a standby
#: this is an error, as it should be: what a standby tells of the members may be old.
IDENTITY: Final = """
(SELECT system_identifier FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
|| CASE WHEN 'off' IN (current_setting('synchronous_commit'), current_setting('fsync'))
   THEN '/' || pg_postmaster_start_time() ELSE '' END
"""
#: Bytes of write-ahead log that are on the disk.
FLUSHED: Final = "pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"


def server_of(identity: str) -> str:
    """The part of an identity that two databases of one server have in common."""
    return identity.partition("/")[0]


class Watch:
    """What this process has seen of one server."""

    __slots__ = ("_flushed", "identity", "reconnected")

    def __init__(self) -> None:
        #: As it was last seen; empty: it never was.
        self.identity = ""
        #: Whether the connection was made anew since: a server that crashes ends them all, and may keep its identity.
        self.reconnected = False
        self._flushed = 0

    def lost(self, identity: str, flushed: int, expected: str) -> bool:
        """Whether a server that shows itself so may have lost commits, as it is not `expected`, or was put back."""
        crashed = bool(self.identity) and self.reconnected and identity.count("/") > 1
        lost = identity != expected or flushed < self._flushed or crashed
        self.identity, self._flushed, self.reconnected = identity, flushed, False
        return lost
