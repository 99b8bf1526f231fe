"""Answer every question, or those named: `python -m benchmarks [name ...]`; one table at the end.

Each runs as a process of its own, `python -m benchmarks.<name>`, which takes options too.
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

#: In the order of issue and table.
QUESTIONS: Final = (
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
    """The exit status: how many questions have no answer."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(QUESTIONS)}")
    names = parser.parse_args().names or QUESTIONS
    if unknown := set(names) - set(QUESTIONS):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(QUESTIONS)}")
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
        print(f"no answer: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
