"""Run Guillotina's suite: `python -m tests.guillotina_suite [pytest arguments]`, from the repository's root.

A pytest of its own, since the suite's fixtures replace the event loop and its tests lie in another tree.
"""

from __future__ import annotations

import sys
from pathlib import Path

import guillotina
import pytest


def main(arguments: list[str]) -> int:
    """Run pytest over the suite that Guillotina's wheel ships; return its exit status."""
    suite = Path(guillotina.__file__).parent / "tests"
    options = [
        f"--config-file={Path(__file__).with_name('pytest.ini')}",
        f"--rootdir={suite}",  # for short test names
        f"--confcutdir={suite}",
        "-ptests.guillotina_suite.plugin",
        "-pno:cacheprovider",  # it would write into the installed package
    ]
    return pytest.main([*options, str(suite), *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
