"""A `guillotina` command beside the running nodes, with the same configuration: it announces what it writes."""

from __future__ import annotations

from harness.cluster import Cluster
from tests.cluster.steps import everywhere, new, status_everywhere, title_everywhere

SCRIPT = """
from guillotina.content import create_content_in_container

async def run(container):
    changed = await container.async_get("by-command")
    changed.title = f"{changed.title}, written by a command"
    changed.register()
    await create_content_in_container(
        container, "Item", "made-by-command", title="made by a command", check_security=False
    )
    await container.async_del("gone-by-command")
"""


def test_a_command_that_writes(cluster: Cluster) -> None:
    item, gone = new(cluster[0], "by-command", "before"), new(cluster[0], "gone-by-command", "there")
    made = item.replace("by-command", "made-by-command")
    title_everywhere(cluster, item, "before")
    title_everywhere(cluster, gone, "there")
    status_everywhere(cluster, made, 404)
    script = cluster.folder / "write.py"
    script.write_text(SCRIPT)

    # A node's own configuration, with the address at which that node listens.
    ended = cluster[1].run_command("run", "--script", str(script))
    assert ended.returncode == 0, ended.stdout.decode()

    title_everywhere(cluster, item, "before, written by a command")
    title_everywhere(cluster, made, "made by a command")
    status_everywhere(cluster, gone, 404)
    assert cluster[2].http.patch(item, {"title": "after"}).status == 204
    title_everywhere(cluster, item, "after")
    everywhere(cluster, lambda node: node.http.stats()["serving"], True)
