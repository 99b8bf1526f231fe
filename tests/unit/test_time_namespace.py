"""The near cache and the library read one clock: the boot clock, also where it differs from all others."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from harness.postgres import DSN_VARIABLE
from harness.postgres_server import PostgresServer
from tests.unit.life_script import ROOT

#: By how many seconds the namespace's boot clock is ahead of its other clocks.
AHEAD = 1_000_000
#: The variable that is set while this module runs in the namespace.
INSIDE = "GROUPCACHE_TEST_TIME_NAMESPACE"
#: Seconds until the tests in the namespace count as hanging.
TIMEOUT = 180.0
#: Tests that depend on the clock: the deadline and the expiry of near entries, and the library's own.
TESTS = (
    "tests/unit/test_time_namespace.py::test_the_boot_clock_is_ahead",
    "tests/unit/test_near_cache.py::test_a_process_that_bypasses_uses_no_near_entry",
    "tests/unit/test_near_cache.py::test_a_value_expires",
    "tests/unit/test_near_cache.py::test_what_was_written_past_the_cache_is_read_when_the_ttl_is_over",
)


def unshare() -> list[str]:
    """The command that runs another one in a time namespace. Skips the test where none can be made."""
    refused = []
    for privileges in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *privileges, "--time", "--fork", "--kill-child", "--boottime", str(AHEAD)]
        try:
            tried = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=TIMEOUT)
        except FileNotFoundError:
            pytest.skip("there is no program unshare")
        if tried.returncode == 0:
            return command
        refused.append(tried.stderr)
    pytest.skip(f"this process may make no time namespace: {refused}")


def test_what_depends_on_the_clock_in_a_time_namespace(postgres: PostgresServer) -> None:
    """If either side read another clock, the deadline would have passed long ago, or would never come."""
    run = subprocess.run(
        [*unshare(), sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", *TESTS],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, INSIDE: "1", DSN_VARIABLE: postgres.dsn()},
        timeout=TIMEOUT,
    )
    assert run.returncode == 0 and f"{len(TESTS)} passed" in run.stdout, run.stdout


@pytest.mark.skipif(INSIDE not in os.environ, reason="the test above runs it, in the namespace")
def test_the_boot_clock_is_ahead() -> None:
    assert time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC) > AHEAD / 2
