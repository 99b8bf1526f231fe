"""Scripts that need a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Seconds until a script that has not ended counts as hanging.
TIMEOUT = 60.0


def run_script(source: str, *arguments: str) -> str:
    """What a Python script prints. Raises `AssertionError` with everything that it has printed if it fails or hangs."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        # Its children hold the pipe as well, so all of them have to end.
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
        raise AssertionError(f"the script hangs:\n{output}") from None
    assert process.returncode == 0, f"exit status {process.returncode}:\n{output}"
    return output
