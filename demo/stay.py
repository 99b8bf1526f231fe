"""What `make run` prints about the cluster that it leaves running."""

from __future__ import annotations

from demo.output import say, title
from harness.client import CONTAINER, PASSWORD, USER
from harness.cluster import Cluster


def describe(cluster: Cluster) -> None:
    """Print what to try, and the configuration of one node."""
    first, second = cluster.nodes[:2]
    curl = f"curl -s -u {USER}:{PASSWORD}"
    title("The configuration of node1")
    print(first.config_file.read_text())
    title("Try")
    say("Read an item at two nodes; change it at one; read it again at the other:")
    print(f"   {curl} {first.http.url}{CONTAINER}/item-007")
    print(f"   {curl} {second.http.url}{CONTAINER}/item-007")
    print(f"""   {curl} -X PATCH {first.http.url}{CONTAINER}/item-007 -d '{{"title": "New"}}'""")
    say("See where reads came from, at one node and at all; clear the cache of all:")
    print(f"   {curl} {first.http.url}/@cache-stats")
    print(f"   {curl} '{first.http.url}/@cache-stats?cluster=true'")
    print(f"   {curl} -X POST {first.http.url}/@cache-clear")
    say("Logs and configurations (another `guillotina` command may use these beside the nodes):")
    print(f"   ls {cluster.folder}")
    title("Ctrl-C ends all.")
