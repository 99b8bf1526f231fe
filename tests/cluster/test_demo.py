"""The demo checks every number that it prints; here it only has to succeed."""

from __future__ import annotations

import os
import subprocess
import sys

from harness.local import ROOT
from harness.postgres import DSN_VARIABLE
from harness.postgres_server import PostgresServer

TIMEOUT = 300.0


def test_the_demo_succeeds(postgres: PostgresServer) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env={**os.environ, DSN_VARIABLE: postgres.dsn()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stdout
    assert "Every number above was checked" in done.stdout
