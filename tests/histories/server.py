"""PostgreSQL servers for histories: restarts lose nothing, and other hosts can connect."""

from __future__ import annotations

from harness.postgres_embedded import EmbeddedPostgres
from harness.postgres_server import PostgresServer


class DurablePostgres(EmbeddedPostgres):
    """The embedded server with commits that survive a crash, as they do by default.

    A restart of a server that may lose commits bumps the epoch (R13), which would hide much.
    """

    _settings = "fsync = on\nfull_page_writes = on\n"
    _rules = ""

    def start(self) -> None:
        for name, lines in ("postgresql.conf", self._settings), ("pg_hba.conf", self._rules):
            file = self.data / name
            if lines not in file.read_text():
                with file.open("a") as appended:
                    appended.write(lines)
        super().start()


class NetworkPostgres(DurablePostgres):
    """A server that listens on every address of its network namespace, in which no other program is."""

    _settings = f"{DurablePostgres._settings}listen_addresses = '*'\n"
    _rules = "host all all 0.0.0.0/0 trust\n"

    def dsn(self, database: str = "postgres", host: str | None = None) -> str:
        """Return the URL of a database, by one of the server's addresses."""
        return PostgresServer(host or self.host, self.port).dsn(database)
