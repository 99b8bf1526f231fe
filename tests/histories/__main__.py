"""A long run: `python -m tests.histories`. The environment tells how long, how large, with which seed, and where to."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from tests.histories.run import run


def main() -> int:
    """Run, print, and leave everything in a folder; the exit status is 1 if there was a violation."""
    seconds = float(os.environ.get("SOAK_SECONDS", "600"))
    nodes = int(os.environ.get("SOAK_NODES", "5"))
    seed = int(os.environ.get("SOAK_SEED") or random.randrange(10**6))
    folder = Path(os.environ.get("SOAK_FOLDER") or f"build/soak/{time.strftime('%Y%m%d-%H%M%S')}-{seed}").resolve()
    folder.mkdir(parents=True)
    with (folder / "story.txt").open("w", buffering=1) as story:

        def tell(line: str) -> None:
            print(line, flush=True)
            print(line, file=story)

        result = asyncio.run(run(seconds, nodes, seed, folder, tell))
        tell(f"\n{result}\n\n{len(result.violations)} violations; everything is in {folder}")
    return bool(result.violations)


if __name__ == "__main__":
    sys.exit(main())
