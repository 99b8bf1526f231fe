"""An application whose process may have few descriptors, as with `ulimit -n`."""

from __future__ import annotations

import resource
from typing import Any, Final

#: Descriptors that a process may have.
DESCRIPTORS: Final = 256


def includeme(root: Any) -> None:
    """Lower the limit, before the library is loaded: the hard one too, up to which Go would raise it."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
