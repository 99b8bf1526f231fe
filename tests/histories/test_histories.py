"""A short history: one fault of each kind. `make soak` makes a long one."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from tests.histories.run import run

NODES = 3


async def test_no_history_is_wrong(tmp_path: Path, say: Callable[[str], None]) -> None:
    # Another one each time, as no two runs are alike anyway.
    seed = int(os.environ.get("SOAK_SEED") or random.randrange(10**6))
    result = await run(0.0, NODES, seed, tmp_path, say)
    say(f"\n{result}")
    assert not result.violations, f"seed {seed}, everything is in {tmp_path}:\n{result}"
