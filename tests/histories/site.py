"""The nodes of a history: a cluster in which each node has a host of its own.

Its methods block, and any thread may call them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psycopg2

from harness.client import CONTAINER, HttpClient, NodeError, Response
from harness.cluster import SECRET, Cluster, Stats, missing_member, wait_for_stats
from harness.node import APPLICATIONS, Node
from tests.histories import keeper
from tests.histories.network import Host, Network
from tests.oracle_judge import APPLICATION as ORACLE
from tests.oracle_judge import Judge

FOLDER = f"{CONTAINER}/items"
DATABASE_NAME = "groupcache_histories"

#: Seconds until a node must answer, and how often it may end until then.
START_TIMEOUT = 120.0
START_TRIES, START_PAUSE = 10, 0.5
#: Seconds until a site must be whole.
WHOLE_TIMEOUT = 120.0


class _HostClient(HttpClient):
    """A client on the node's own host, which no cut of the network affects."""

    def __init__(self, host: Host, port: int) -> None:
        super().__init__(port)
        self._host = host

    def request(self, method: str, path: str, *arguments: Any, **options: Any) -> Response:
        with self._host.entered():
            return super().request(method, path, *arguments, **options)


class SiteNode(Node):
    """A node on a host. Every process that it starts is killed at the latest when this process ends."""

    def __init__(self, host: Host, database: str, folder: Path, judge: Judge, keeper: IO[str]) -> None:
        section = {"secret": SECRET, **host.groupcache}
        applications = {"applications": [*APPLICATIONS, ORACLE]}
        super().__init__(f"node{host.number}", host.dsn(database), folder, section, applications, judge.environ)
        self.host = host
        self.number = host.number
        self._keeper = keeper
        self.http = _HostClient(host, self.port)

    def start(self) -> None:
        with self.host.entered():
            super().start()
        assert self.process is not None
        self.host.started(self.process.pid)
        print(self.process.pid, file=self._keeper, flush=True)

    def start_until_ready(self) -> None:
        """Start the process, again when it ends meanwhile, as a supervisor does: its database may be away.

        Raises `NodeError`.
        """
        for _ in range(START_TRIES):
            self.start()
            try:
                return self.wait_ready(START_TIMEOUT, serving=False)
            except NodeError:
                if self.is_running():
                    raise
                time.sleep(START_PAUSE)
        raise NodeError(f"{self.name} was started {START_TRIES} times and ended each time:\n{self.log()}")


class Site(Cluster):
    """A cluster whose nodes have a host each: everything that it started has ended at the end of its process, too."""

    nodes: list[SiteNode]  # type: ignore[assignment]

    def __init__(self, network: Network, keys: int, folder: Path) -> None:
        """Make a site with `keys` items, whose logs and configurations are left in `folder`."""
        super().__init__(network.postgres.dsn(DATABASE_NAME), folder=folder)
        self.network = network
        self.keys = [f"item{number}" for number in range(keys)]
        self.judge = Judge(folder / "announced")
        # Nodes have no keeper of their own, as the database server has.
        self._keeper = subprocess.Popen(
            [sys.executable, keeper.__file__], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def _start(self) -> None:
        with self.network.database_entered():
            self.network.postgres.create_database(DATABASE_NAME)
        super()._start()
        for parent, content in (
            (CONTAINER, {"@type": "Folder", "id": FOLDER.rpartition("/")[2]}),
            *((FOLDER, {"@type": "Item", "id": key, "title": initial(key)}) for key in self.keys),
        ):
            made = self.nodes[0].http.post(parent, content)
            if made.status != 201:
                raise NodeError(f"{content} could not be made: {made.status} {made.body!r}")

    def _make_nodes(self) -> None:
        assert self._keeper.stdin is not None
        self.nodes = [
            SiteNode(host, DATABASE_NAME, self.folder, self.judge, self._keeper.stdin) for host in self.network.hosts
        ]

    def wait_whole(self, timeout: float = WHOLE_TIMEOUT) -> None:
        """Wait until all serve and are connected with each other. Raises `TimeoutError`, which says what is missing."""
        wait_for_stats(self.nodes, missing_member, timeout)

    def wait_settled(self) -> None:
        """Wait until, besides, nothing is in doubt and all have the same versions, which takes that nothing writes."""
        wait_for_stats(self.nodes, lambda stats: missing_member(stats) or _unsettled(stats), WHOLE_TIMEOUT)

    # --- the database

    def titles_in_database(self) -> dict[str, str]:
        """Return the titles of the items that the database holds, by id."""
        rows = self.query("SELECT id, json->>'title' FROM objects WHERE id = ANY(%s)", self.keys)
        return dict(rows)

    def query(self, statement: str, *arguments: Any) -> list[Any]:
        """Return the rows of a statement."""
        with self._cursor() as cursor:
            cursor.execute(statement, arguments)
            return list(cursor.fetchall())

    def judged(self) -> list[str]:
        """Return what was committed without an announcement since the last call; if nothing was judged, it says so."""
        with self._connection() as connection:
            faults = self.judge.judge(connection)
        return faults if self.judge.judged else ["nothing was judged"]

    @contextmanager
    def objects_locked(self) -> Iterator[None]:
        """Make every read of an object from the database wait meanwhile."""
        with self._cursor() as cursor:
            cursor.execute("LOCK TABLE objects IN ACCESS EXCLUSIVE MODE")
            yield

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with self._connection() as connection, connection, connection.cursor() as cursor:
            yield cursor

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        with self.network.database_entered():
            connection = psycopg2.connect(self.dsn, connect_timeout=10)
        try:
            yield connection
        finally:
            connection.close()

    def close(self) -> None:
        """End every node."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()
        self._kill_all()
        with self.network.database_entered():
            self.network.postgres.drop_created()


def _unsettled(stats: Stats) -> str:
    """Say which node has something in doubt, or that versions differ; empty: neither."""
    for name, row in stats.items():
        if row["events"]["open"] or row["buckets_in_doubt"]:
            return f"{name} has {row['events']['open']} open events"
    if len({(row["epoch"], row["versions"]) for row in stats.values()}) > 1:
        return "the versions differ"
    return ""


def initial(key: str) -> str:
    """Return the title with which an item is created."""
    return f"{key} as made"
