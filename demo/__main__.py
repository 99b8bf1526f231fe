"""What guillotina_groupcache does, shown on real processes: `make demo` and, with `--stay`, `make run`.

Everything that is printed is checked: if it is not true, the demo says so and ends with status 1.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

from demo.output import Untrue, say, title
from demo.stay import describe
from demo.steps import STEPS, write_items
from harness.client import NodeError
from harness.cluster import Cluster
from harness.postgres import running_postgres


def show(cluster: Cluster) -> None:
    """Run every step."""
    for number, step in enumerate(STEPS, start=2):
        title(f"{number}. {(step.__doc__ or '').splitlines()[0].rstrip('.')}")
        step(cluster)
    title("Done. Every number above was checked.")


def stay(cluster: Cluster) -> None:
    """Leave the cluster to the user until Ctrl-C or SIGTERM."""
    write_items(cluster)
    describe(cluster)
    sys.stdout.flush()
    threading.Event().wait()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    # As Ctrl-C does: the `with` blocks end what they have started.
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Run the demo; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stay", action="store_true", help="leave a cluster running until Ctrl-C")
    staying = parser.parse_args(arguments).stay
    signal.signal(signal.SIGTERM, _end)
    try:
        title("1. One PostgreSQL, three Guillotina nodes with the add-on")
        with running_postgres() as postgres:
            say(f"PostgreSQL runs at {postgres.host}:{postgres.port}. The nodes start ...")
            with Cluster(postgres.create_database("groupcache_demo"), 3, secrets.token_hex(32)) as cluster:
                for node in cluster.nodes:
                    say(f"{node.name}  {node.http.url}  cache at {node.address}")
                say(
                    "They find each other by the members table in the database, and talk over TLS with a shared secret."
                )
                (stay if staying else show)(cluster)
    except KeyboardInterrupt:
        print("\nEnded; nothing is left running.")
        return 0 if staying else 130
    except (Untrue, NodeError, TimeoutError) as error:
        print(f"\nNOT TRUE: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # Line by line, also into a pipe: a step can be read while the next one runs.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:]))
