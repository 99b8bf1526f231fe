"""Some nodes over one database, each on a host of its own: what a history is made of.

Its methods block, and any thread may call them.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from harness.client import CONTAINER, HttpClient, NodeError, Response
from harness.local import wait_for
from harness.node import Node
from tests.histories import keeper
from tests.histories.network import Host, Network
from tests.oracle_judge import APPLICATION, Judge

SECRET = "only-for-histories-in-tests"
FOLDER = f"{CONTAINER}/items"
DATABASE_NAME = "groupcache_histories"

#: Seconds until a node must answer, and how often it may end until then.
START_TIMEOUT = 120.0
START_TRIES, START_PAUSE = 10, 0.5
#: Seconds until a site must be whole. Nothing waits longer than it has to.
WHOLE_TIMEOUT = 120.0


class _HostClient(HttpClient):
    """Requests to a node on its own host: no cut of the network is in their way."""

    def __init__(self, host: Host, port: int) -> None:
        super().__init__(port)
        self._host = host

    def request(self, method: str, path: str, *arguments: Any, **options: Any) -> Response:
        with self._host.entered():
            return super().request(method, path, *arguments, **options)


class SiteNode(Node):
    """A node on a host."""

    def __init__(self, host: Host, database: str, folder: Path, judge: Judge) -> None:
        section = {"secret": SECRET, **host.groupcache}
        applications = {"applications": ["guillotina", "guillotina_groupcache", APPLICATION]}
        super().__init__(f"node{host.number}", host.dsn(database), folder, section, applications, judge.environ)
        self.host = host
        self.number = host.number
        self.http = _HostClient(host, self.port)

    def start(self) -> None:
        with self.host.entered():
            super().start()
        assert self.process is not None
        self.host.started(self.process.pid)


class Site:
    """A context manager: everything that it started has ended at its end, or at the end of its process."""

    def __init__(self, network: Network, keys: int, folder: Path) -> None:
        """`keys` items are made; logs and configurations are left in `folder`."""
        self.network = network
        self.keys = [f"item{number}" for number in range(keys)]
        self._folder = folder
        self.judge = Judge(folder / "announced")
        self.nodes: list[SiteNode] = []
        # Nodes have no keeper of their own, as the database server has.
        self._keeper = subprocess.Popen(
            [sys.executable, keeper.__file__], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def __enter__(self) -> Site:
        try:
            with self.network.database_entered():
                self.network.postgres.create_database(DATABASE_NAME)
            self.nodes = [SiteNode(host, DATABASE_NAME, self._folder, self.judge) for host in self.network.hosts]
            # One after the other: Guillotina makes its tables, and two that do so at once fail.
            for node in self.nodes:
                self.start_until_ready(node)
            self._make_items()
            self.wait_whole()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _make_items(self) -> None:
        first = self.nodes[0].http
        for parent, content in (
            ("/db", {"@type": "Container", "id": CONTAINER.rpartition("/")[2]}),
            (CONTAINER, {"@type": "Folder", "id": FOLDER.rpartition("/")[2]}),
            *((FOLDER, {"@type": "Item", "id": key, "title": initial(key)}) for key in self.keys),
        ):
            made = first.post(parent, content)
            if made.status not in (200, 201):
                raise NodeError(f"{content} could not be made: {made.status} {made.body!r}")

    # --- nodes

    def start(self, node: SiteNode) -> None:
        """Start a node, which is ended with this process."""
        node.start()
        assert node.process is not None and self._keeper.stdin is not None
        print(node.process.pid, file=self._keeper.stdin, flush=True)

    def start_until_ready(self, node: SiteNode) -> None:
        """Start a node, again when it ends meanwhile, as a supervisor does: its database may be away.

        Raises `NodeError`.
        """
        for _ in range(START_TRIES):
            self.start(node)
            try:
                return node.wait_ready(START_TIMEOUT, serving=False)
            except NodeError:
                if node.is_running():
                    raise
                time.sleep(START_PAUSE)
        raise NodeError(f"{node.name} was started {START_TRIES} times and ended each time:\n{node.log()}")

    def wait_whole(self, timeout: float = WHOLE_TIMEOUT) -> None:
        """Wait until all are in standing and know each other. Raises `TimeoutError`, which says what is missing."""
        self._wait(lambda stats: _apart(stats), timeout)

    def wait_settled(self, timeout: float = WHOLE_TIMEOUT) -> None:
        """Wait until, besides, nothing is in doubt and all have the same versions, which takes that nobody writes."""
        self._wait(lambda stats: _apart(stats) or _unsettled(stats), timeout)

    def _wait(self, missing: Callable[[dict[str, Any]], str], timeout: float) -> None:
        last = ""

        def nothing_missing() -> bool:
            nonlocal last
            try:
                last = missing({node.name: node.http.stats() for node in self.nodes})
            except (OSError, NodeError) as error:
                last = str(error)
            return not last

        try:
            wait_for(nothing_missing, "the whole site", timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {last}") from None

    # --- the database

    def titles_in_database(self) -> dict[str, str]:
        """The titles of the items that the database holds, by id."""
        rows = self.query("SELECT id, json->>'title' FROM objects WHERE id = ANY(%s)", self.keys)
        return dict(rows)

    def query(self, statement: str, *arguments: Any) -> list[Any]:
        """The rows of a statement."""
        with self._cursor() as cursor:
            cursor.execute(statement, arguments)
            return list(cursor.fetchall())

    def judged(self) -> list[str]:
        """What was committed, and was not announced, since this was asked last; it must not be nothing at all."""
        with self._connection() as connection:
            faults = self.judge.judge(connection)
        return faults if self.judge.judged else ["nothing was judged"]

    @contextmanager
    def objects_locked(self) -> Iterator[None]:
        """Nobody reads an object from the database meanwhile: who wants to waits."""
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
            connection = psycopg2.connect(self.network.postgres.dsn(DATABASE_NAME), connect_timeout=10)
        try:
            yield connection
        finally:
            connection.close()

    def close(self) -> None:
        """End every node."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()
        for node in self.nodes:
            node.kill()
        with self.network.database_entered():
            self.network.postgres.drop_created()


def _apart(stats: dict[str, Any]) -> str:
    """Who is not in standing, or does not know another one; empty: nobody."""
    addresses = {row["address"] for row in stats.values()}
    for name, row in stats.items():
        if not row["serving"]:
            return f"{name} is not in standing: {row['reason']}"
        known = {row["address"], *(m["address"] for m in row["members"] if m["state"] == "in" and m["connected"])}
        if not known >= addresses:
            return f"{name} lacks {sorted(addresses - known)}"
    return ""


def _unsettled(stats: dict[str, Any]) -> str:
    """Who has something in doubt, or other versions than another one; empty: nobody."""
    for name, row in stats.items():
        if row["events"]["open"] or row["buckets_in_doubt"]:
            return f"{name} has {row['events']['open']} open events"
    if len({(row["epoch"], row["versions"]) for row in stats.values()}) > 1:
        return "the versions differ"
    return ""


def initial(key: str) -> str:
    """The title that an item is made with."""
    return f"{key} as made"
