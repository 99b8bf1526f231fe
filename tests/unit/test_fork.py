"""A process may fork before the library is loaded; after that, using it in the child is a clear error and no hang."""

from __future__ import annotations

import pytest

from tests.unit.life_script import run_script

#: The child of every script is ended by an alarm if it hangs; the parent reports how it ended.
PARENT_AND_CHILD = """
import os, signal, sys

from guillotina_groupcache.interfaces import ForkedError
from guillotina_groupcache.native import Node
from tests.unit.life_node import ALONE, opened, read

def in_child(work):
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    signal.alarm(20)
    work()
    sys.exit(7)  # so that the interpreter does all that it does at its end

def forked(call):
    try:
        call()
    except ForkedError as error:
        assert str(os.getppid()) in str(error) and "\\n" not in str(error), error
    else:
        sys.exit("no error")
"""


def test_every_call_in_a_child_is_an_error() -> None:
    run_script(
        PARENT_AND_CHILD
        + """
from tests.unit.life_node import CALLS

node = Node(ALONE)
node.database("db", b"")
read(node, b"key", load=lambda key: b"value")

def work():
    for call in CALLS.values():
        forked(lambda: call(node))
    forked(lambda: Node(ALONE))

assert in_child(work) == 7
assert node.get(b"key").value == b"value"
assert read(node, b"other", load=lambda key: b"value")[0].value == b"value"
node.close()
"""
    )


def test_a_child_of_a_process_whose_node_has_ended() -> None:
    run_script(
        PARENT_AND_CHILD
        + """
with opened():
    pass
assert in_child(lambda: forked(lambda: Node(ALONE))) == 7
with opened():
    pass
"""
    )


def test_a_grandchild() -> None:
    run_script(
        PARENT_AND_CHILD
        + """
node = Node(ALONE)

def grandchild():
    for call in (lambda: node.get(b"key"), lambda: Node(ALONE)):
        try:
            call()
        except ForkedError:
            continue
        sys.exit("no error")

assert in_child(lambda: sys.exit(in_child(grandchild))) == 7
node.close()
"""
    )


def test_the_cache_of_a_child_is_an_error() -> None:
    run_script(
        PARENT_AND_CHILD
        + """
import asyncio
from guillotina import app_settings
from guillotina.db.storages.dummy import DummyStorage
from guillotina.factory.content import Database
from guillotina_groupcache.utility import GroupcacheUtility

app_settings["groupcache"] = {"peers": []}
database = Database("db", DummyStorage())

async def main():
    utility = GroupcacheUtility()
    await utility.add_database(database)
    def work():
        asyncio._set_running_loop(None)
        forked(lambda: asyncio.run(utility.reads.get(b"key")))
        forked(lambda: asyncio.run(utility.reads.get_many([b"key"])))
        forked(lambda: asyncio.run(utility.events.announce("db", [b"key"])))
        forked(lambda: asyncio.run(GroupcacheUtility().add_database(database)))
        os._exit(7)  # the loop is the parent's
    assert in_child(work) == 7
    await utility.clear()
    await utility.finalize()

asyncio.run(main())
"""
    )


@pytest.mark.parametrize("imported", ["guillotina_groupcache", "guillotina_groupcache.utility"])
def test_fork_before_the_start(imported: str) -> None:
    """As gunicorn with `preload_app` does: the parent has imported everything and started nothing."""
    run_script(
        f"import {imported}\n"
        + PARENT_AND_CHILD
        + """
def work():
    with opened() as node:
        assert read(node, b"key", load=lambda key: b"value")[0].value == b"value"

assert [in_child(work) for _ in range(3)] == [7, 7, 7]
work()
"""
    )


def test_a_program_that_is_run_gets_none_of_the_descriptors() -> None:
    """Servers reload themselves by running a program: a descriptor that they left open would keep the port."""
    output = run_script(
        """
        import os, subprocess, sys
        from harness.cluster import SECRET
        from tests.unit.life_node import opened

        def descriptors():
            return subprocess.run([sys.executable, "-c", "import os; print(len(os.listdir('/proc/self/fd')))"],
                                  stdout=subprocess.PIPE, close_fds=False, check=True).stdout

        before = descriptors()
        with opened(alone=False, listen=["127.0.0.1:0"], secret=SECRET), opened():
            print(descriptors() == before)
        """
    )
    assert output == "True\n"


def test_importing_loads_no_library_and_starts_no_thread() -> None:
    output = run_script(
        """
        import os, pkgutil, importlib
        import guillotina_groupcache

        for module in pkgutil.walk_packages(guillotina_groupcache.__path__, "guillotina_groupcache."):
            if not module.name.endswith(("native_build", "libgroupcache")):  # setup.py's, and the library itself
                importlib.import_module(module.name)
        print("libgroupcache" in open("/proc/self/maps").read(), len(os.listdir("/proc/self/task")))

        from tests.unit.life_node import opened
        with opened():
            print("libgroupcache" in open("/proc/self/maps").read())
        """
    )
    assert output == "False 1\nTrue\n"
