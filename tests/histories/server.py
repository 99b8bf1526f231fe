"""PostgreSQL servers for histories: their restarts lose nothing, and other hosts reach them."""

from __future__ import annotations

from harness.postgres import PostgresServer
from harness.postgres_embedded import EmbeddedPostgres


class DurablePostgres(EmbeddedPostgres):
    """The embedded server with commits that outlive a crash, as they do by default.

    A restart of a server that may lose some renames everything that is cached (R13), and so would hide much.
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
    """It listens on every address of its network namespace, which nobody else is in."""

    _settings = f"{DurablePostgres._settings}listen_addresses = '*'\n"
    _rules = "host all all 0.0.0.0/0 trust\n"

    def dsn(self, database: str = "postgres", host: str | None = None) -> str:
        """The URL of a database, by the server's own address or another one of its."""
        return PostgresServer(host or self.host, self.port).dsn(database)
