"""Run every benchmark, or those named: `python -m benchmarks [name ...]`, with one table at the end.

Each runs as a process of its own, `python -m benchmarks.<name>`, which also takes options.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from typing import Final

from benchmarks.lib import summary
from benchmarks.lib.report import RESULTS, Finding, read, table
from harness.local import ROOT
from harness.postgres import DSN_VARIABLE, running_postgres

#: In the order of the table.
BENCHMARKS: Final = (
    "hot_read",
    "peer_read",
    "listing",
    "stampede",
    "commit",
    "busy_peer",
    "failures",
    "outside",
    "capacity",
    "store",
    "http_load",
    "scaling",
    "startup",
    "walk",
)


def main() -> int:
    """Run the benchmarks; return the exit status: how many of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(BENCHMARKS)}")
    names = parser.parse_args().names or BENCHMARKS
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(BENCHMARKS)}")
    findings: list[Finding] = []
    failed = []
    with running_postgres() as postgres:
        environ = {**os.environ, DSN_VARIABLE: postgres.dsn()}
        for name in names:
            begin = time.monotonic()
            done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=ROOT, env=environ)
            print(f"({name} took {time.monotonic() - begin:.0f} s)\n", flush=True)
            if done.returncode:
                failed.append(name)
            else:
                findings += read(RESULTS / f"{name}.json").findings
    print(table(findings))
    summary.draw()
    if failed:
        print(f"failed: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
