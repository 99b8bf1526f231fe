"""A Guillotina application whose presence makes the package's library one that does not load."""

from __future__ import annotations

from pathlib import Path

from guillotina_groupcache import native

# What is there is a file, and no library.
native.LIBRARY = Path(__file__)  # type: ignore[misc]
