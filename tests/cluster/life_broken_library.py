"""A Guillotina application that replaces the package's library by one that does not load."""

from __future__ import annotations

from pathlib import Path

from guillotina_groupcache import native

# This file is no library.
native.LIBRARY = Path(__file__)  # type: ignore[misc]
