"""A long run: `python -m tests.histories`. The environment sets its length, its size, its seed and its folder."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from tests.histories.run import run


def main() -> int:
    """Run, print, leave everything in a folder, and return the exit status: 1 if there was a violation."""
    seconds = float(os.environ.get("SOAK_SECONDS", "600"))
    nodes = int(os.environ.get("SOAK_NODES", "5"))
    seed = int(os.environ.get("SOAK_SEED") or random.randrange(10**6))
    folder = Path(os.environ.get("SOAK_FOLDER") or f"build/soak/{time.strftime('%Y%m%d-%H%M%S')}-{seed}").resolve()
    folder.mkdir(parents=True)
    with (folder / "story.txt").open("w", buffering=1) as story:

        def say(line: str) -> None:
            print(line, flush=True)
            print(line, file=story)

        result = asyncio.run(run(seconds, nodes, seed, folder, say))
        say(f"\n{result}\n\n{len(result.violations)} violations; everything is in {folder}")
    return bool(result.violations)


if __name__ == "__main__":
    sys.exit(main())
