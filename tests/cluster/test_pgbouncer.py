"""A site behind pgbouncer in transaction mode: its members share the connections with outside writers.

Guillotina needs `statement_cache_size: 0` for that, and as many connections as its requests use at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.cluster import Cluster
from harness.postgres_server import PostgresServer
from tests.cluster import outside
from tests.cluster.conftest import running_cluster
from tests.cluster.life_load import Load, under_load
from tests.cluster.outside import Change, copied
from tests.cluster.outside_changes import CHANGES, CORE, SOME
from tests.cluster.steps import everywhere, new, title, title_everywhere, uid
from tests.pgbouncer import PgBouncer, running_pgbouncer

#: Connections to the database; three nodes alone may open twice as many to the pooler.
CONNECTIONS = 12


@pytest.fixture(scope="module")
def bouncer(postgres: PostgresServer) -> Iterator[PgBouncer]:
    with running_pgbouncer(postgres, CONNECTIONS) as bouncer:
        yield bouncer


@pytest.fixture(scope="module")
def cluster(bouncer: PgBouncer) -> Iterator[Cluster]:
    with running_cluster(bouncer, ["tests.cluster.outside_addon"], settings={"statement_cache_size": 0}) as cluster:
        yield cluster


@pytest.fixture(scope="module", autouse=True)
def load(cluster: Cluster) -> Iterator[Load]:
    """Members write over the same connections all the time."""
    with under_load(cluster.nodes, new(cluster[0], "load", type_="Folder")) as load:
        yield load


@pytest.fixture(scope="module")
def written(cluster: Cluster) -> list[Change]:
    """Changes that every node has read."""
    return []


@pytest.mark.parametrize("name", SOME)
def test_all_read_writes_through_it(cluster: Cluster, name: str, load: Load, written: list[Change]) -> None:
    change = CHANGES[name](cluster, new(cluster[0], name, type_="Folder"))
    outside.is_hot(cluster, [change], alone=False)
    change.write(cluster.dsn)
    outside.seconds_until_read(cluster.nodes, change)
    load.wait_on()
    written.append(change)


@pytest.mark.parametrize("where", ["after", "without-transaction", "through-pool", "through-pool-in-transaction"])
def test_sql_of_an_add_on(cluster: Cluster, where: str) -> None:
    folder = new(cluster[0], f"sql-{where}", type_="Folder")
    own, item, twin = (new(cluster[0], id_, id_, parent=folder) for id_ in ("own", "item", "twin"))
    for _ in range(3):
        title_everywhere(cluster, item, "item")
    statement = copied(uid(cluster[0], item), uid(cluster[0], twin))
    answer = cluster[1].http.post(f"{own}/@sql-{where}", {"statement": statement})
    assert answer.status == 200, answer
    outside.seconds_until_read(cluster.nodes, Change(str, lambda node: title(node, item), "item", "twin"))


def test_nothing_comes_back(cluster: Cluster, written: list[Change]) -> None:
    outside.wait_noted_by_all(cluster)
    assert len(written) >= len(CORE)
    for change in written:
        everywhere(cluster, change.read, change.after)
    cluster.wait_whole()
    assert [node.log().count("bypassing: reads go to the database") for node in cluster.nodes] == [0, 0, 0]
