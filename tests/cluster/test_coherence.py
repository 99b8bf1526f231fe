"""Every node reads what one node writes right after the response (R3, R4, R11)."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from harness.client import CONTAINER
from harness.cluster import Cluster
from harness.local import wait_for
from tests.cluster.steps import (
    everywhere,
    execute,
    json_everywhere,
    json_of,
    new,
    status_everywhere,
    title_everywhere,
    uid,
)

ROUNDS = 30
DUBLIN_CORE = "guillotina.behaviors.dublincore.IDublinCore"


def test_a_changed_object(cluster: Cluster) -> None:
    item = new(cluster[0], "changed", "before")
    title_everywhere(cluster, item, "before")
    for i in range(ROUNDS):
        assert cluster[i % 3].http.patch(item, {"title": f"title {i}"}).status == 204
        title_everywhere(cluster, item, f"title {i}")


def test_one_id_added_and_deleted_again_and_again(cluster: Cluster) -> None:
    folder = new(cluster[0], "come-and-go", type_="Folder")
    new(cluster[0], "stays", parent=folder)
    for i in range(ROUNDS):
        status_everywhere(cluster, f"{folder}/one", 404)
        new(cluster[i % 3], "one", f"title {i}", parent=folder)
        title_everywhere(cluster, f"{folder}/one", f"title {i}")
        everywhere(cluster, lambda node: sorted(json_of(node, f"{folder}/@ids")), ["one", "stays"])
        everywhere(cluster, lambda node: json_of(node, f"{folder}/@items")["total"], 2)
        assert cluster[(i + 1) % 3].http.delete(f"{folder}/one").status == 200
        json_everywhere(cluster, f"{folder}/@ids", ["stays"])
        everywhere(cluster, lambda node: json_of(node, f"{folder}/@items")["total"], 1)


def test_a_move_to_another_folder_and_id(cluster: Cluster) -> None:
    folders = [new(cluster[0], f"from-to-{i}", type_="Folder") for i in range(2)]
    new(cluster[0], "0", "moved", parent=folders[0])
    for i in range(ROUNDS):
        source, target = folders[i % 2], folders[(i + 1) % 2]
        title_everywhere(cluster, f"{source}/{i}", "moved")
        status_everywhere(cluster, f"{target}/{i + 1}", 404)
        json_everywhere(cluster, f"{target}/@ids", [])
        where = {"destination": target.removeprefix(CONTAINER), "new_id": str(i + 1)}
        assert cluster[i % 3].http.post(f"{source}/{i}/@move", where).status == 200
        status_everywhere(cluster, f"{source}/{i}", 404)
        title_everywhere(cluster, f"{target}/{i + 1}", "moved")
        json_everywhere(cluster, f"{source}/@ids", [])
        json_everywhere(cluster, f"{target}/@ids", [str(i + 1)])
        json_everywhere(cluster, f"{source}/@titles", {})
        json_everywhere(cluster, f"{target}/@titles", {str(i + 1): "moved"})


def test_a_moved_folder_takes_its_children_along(cluster: Cluster) -> None:
    folder = new(cluster[0], "taken-0", type_="Folder")
    child = uid(cluster[0], new(cluster[0], "child", "child", parent=folder))
    for i in range(ROUNDS // 3):
        title_everywhere(cluster, f"{CONTAINER}/taken-{i}/child", "child")
        moved = cluster[i % 3].http.post(f"{CONTAINER}/taken-{i}/@move", {"new_id": f"taken-{i + 1}"})
        assert moved.status == 200
        status_everywhere(cluster, f"{CONTAINER}/taken-{i}/child", 404)
        title_everywhere(cluster, f"{CONTAINER}/taken-{i + 1}/child", "child")
        everywhere(
            cluster,
            lambda node: node.http.get(f"{CONTAINER}/@resolveuid/{child}").headers["location"].split(CONTAINER)[1],
            f"/taken-{i + 1}/child",
        )


def test_a_behavior(cluster: Cluster) -> None:
    item = new(cluster[0], "with-tags")
    for i in range(ROUNDS):
        assert cluster[i % 3].http.patch(item, {DUBLIN_CORE: {"tags": [f"tag {i}"]}}).status == 204
        everywhere(cluster, lambda node: json_of(node, item)[DUBLIN_CORE]["tags"], [f"tag {i}"])


def test_annotations(cluster: Cluster) -> None:
    item = new(cluster[0], "annotated")
    oid = uid(cluster[0], item)
    wanted = cluster[0].http.get(f"{item}/@annotations").json()
    for i in range(ROUNDS):
        name = f"{i % 2}"
        json_everywhere(cluster, f"{item}/@annotations", wanted)
        assert cluster[i % 3].http.post(f"{item}/@annotation/{name}", i).status == 200
        json_everywhere(cluster, f"{item}/@annotations", {**wanted, name: i})
        if i % 4 > 1:
            assert cluster[(i + 1) % 3].http.delete(f"{item}/@annotation/{name}").status == 200
            wanted.pop(name, None)
            # Until the vacuum has deleted the row, another one with the same name is a conflict.
            row = f"SELECT 1 FROM objects WHERE of = '{oid}' AND id = '{name}'"
            wait_for(lambda row=row: not execute(cluster.dsn, row), "the annotation to be vacuumed")
        else:
            wanted[name] = i


def test_a_child_with_the_id_of_an_annotation(cluster: Cluster) -> None:
    """Guillotina's own cache answers 500 for the folder from now on (R10)."""
    folder = new(cluster[0], "named-alike", "folder", type_="Folder")
    assert cluster[0].http.patch(folder, {DUBLIN_CORE: {"tags": ["of the folder"]}}).status == 204
    child = new(cluster[1], "default-annotation", "child", parent=folder)
    for i in range(3):
        title_everywhere(cluster, child, "child" if i == 0 else f"child {i - 1}")
        title_everywhere(cluster, folder, "folder")
        everywhere(cluster, lambda node: json_of(node, folder)[DUBLIN_CORE]["tags"], ["of the folder"])
        assert cluster[i].http.patch(child, {"title": f"child {i}"}).status == 204
    assert cluster[2].http.patch(folder, {DUBLIN_CORE: {"tags": ["another"]}}).status == 204
    title_everywhere(cluster, child, "child 2")
    everywhere(cluster, lambda node: json_of(node, folder)[DUBLIN_CORE]["tags"], ["another"])


@pytest.mark.parametrize("id_", [*(f"a{character}b" for character in ".-_@$^()+ ="), "a-keys", "a-len", "-", "="])
def test_ids_with_every_allowed_character(cluster: Cluster, id_: str) -> None:
    folder = f"{CONTAINER}/characters"
    if cluster[0].http.get(folder).status == 404:
        new(cluster[0], "characters", type_="Folder")
    new(cluster[0], id_, "first", parent=folder)
    item = f"{folder}/{quote(id_)}"
    title_everywhere(cluster, item, "first")
    assert cluster[1].http.patch(item, {"title": "second"}).status == 204
    title_everywhere(cluster, item, "second")
    everywhere(cluster, lambda node: json_of(node, f"{folder}/@titles")[id_], "second")
    assert cluster[2].http.delete(item).status == 200
    status_everywhere(cluster, item, 404)
    everywhere(cluster, lambda node: id_ in json_of(node, f"{folder}/@ids"), False)
