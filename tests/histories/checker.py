"""Compiles and runs the program in `checker/`, which reports whether a history is linearizable."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.local import ROOT

SOURCE = Path(__file__).resolve().parent / "checker"
TIMEOUT = 600.0


@dataclass(frozen=True)
class Verdict:
    """The checker's verdict about a history; `text` has the violations, if there are any."""

    linearizable: bool
    text: str


def compiled(folder: Path) -> Path:
    """Compile the program into a folder and return its path. Raises `RuntimeError` with Go's output."""
    # Where `make install` had to fetch Go, it is in the virtual environment.
    environ = {**os.environ, "PATH": f"{ROOT}/.venv/go/bin:{os.environ['PATH']}", "GOTOOLCHAIN": "local"}
    program = folder / "checker"
    done = subprocess.run(
        ["go", "build", "-buildvcs=false", "-o", str(program), "."],
        cwd=SOURCE,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the checker cannot be compiled:\n{done.stdout}")
    return program


def check(program: Path, history: Path) -> Verdict:
    """Return the verdict about a history. Raises `RuntimeError` without one: then the run was set up badly."""
    done = subprocess.run([str(program), str(history)], capture_output=True, text=True, timeout=TIMEOUT)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"the checker has no verdict:\n{done.stdout}{done.stderr}")
    return Verdict(done.returncode == 0, done.stdout)
