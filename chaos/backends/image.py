"""The image of our own nodes: its tag, and whether it holds this very agent.

The agent inside must be the one that the host knows, so that the image carries a label with the hash of its files;
`scripts/node-image` makes it, `chaos/backends/docker.py` asks for it before a lab is started.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

from chaos.model import NODE_IMAGE

AGENT_LABEL: Final = "connect-chaos.agent"
MEND: Final = "scripts/node-image"
_PACKAGE: Final = Path(__file__).resolve().parents[1]


@cache
def tag() -> str:
    """The image of this version."""
    return f"{NODE_IMAGE}:{metadata.version('connect-chaos')}"


def is_ours(image: str | None) -> bool:
    """Whether a service's image is the one of our own nodes, of whatever version."""
    return image is not None and (image == NODE_IMAGE or image.startswith(f"{NODE_IMAGE}:"))


def files() -> list[Path]:
    """What the agent is made of, relative to the folder that holds the package."""
    return [Path("chaos/__init__.py"), *sorted(file.relative_to(_PACKAGE.parent) for file in _agent())]


def _agent() -> list[Path]:
    return list((_PACKAGE / "agent").glob("*.py"))


@cache
def agent_hash() -> str:
    """A hash of the agent's files, names and contents."""
    digest = hashlib.sha256()
    for file in files():
        digest.update(f"{file}\0".encode() + (_PACKAGE.parent / file).read_bytes() + b"\0")
    return digest.hexdigest()[:16]
