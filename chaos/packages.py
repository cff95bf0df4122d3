"""Where a node finds a library that this environment has: its interpreter is ours, started without site-packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def folder(library: str) -> str | None:
    """The folder from which to import it; None where it is not installed."""
    spec = importlib.util.find_spec(library)
    return str(Path(spec.origin).parents[1]) if spec and spec.origin else None
