"""Where this machine has Toxiproxy: its server, which the netns backend runs in a node, and the library that drives it.

The server is on PATH (`toxiproxy-server`), or in our cache, where `scripts/toxiproxy` builds the pinned version. The
docker backend runs the official image, or the one that `scripts/node-image` made of that server.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from chaos.errors import ToolMissing

VERSION = "2.12.0"
NAME = "toxiproxy-server"
PORT = 8474
"""Of its API, on loopback inside its node."""
ARGUMENTS = ("-host", "127.0.0.1", "-port", str(PORT), "-proxy-metrics")
INSTALL = (
    f"GOBIN=$PWD go install github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION} && "
    f"sudo install server /usr/local/bin/{NAME}"
)
IMAGE = f"ghcr.io/shopify/toxiproxy:{VERSION}@sha256:9378ed52a28bc50edc1350f936f518f31fa95f0d15917d6eb40b8e376d1a214e"
"""The official one, by the digest of its index of platforms."""
OUR_IMAGE = f"connect-chaos/toxiproxy:{VERSION}"
"""Of the server that this machine has, where no registry answers."""
_CHECKOUT = Path(__file__).resolve().parents[1] / ".cache"


def server() -> str:
    """The path of the server. Raises ToolMissing with the line that installs it."""
    on_path = shutil.which(NAME)
    cached = [folder / f"toxiproxy-{VERSION}" / NAME for folder in _caches()]
    found = [on_path, *(str(file) for file in cached if os.access(file, os.X_OK))]
    for path in filter(None, found):
        return path
    raise ToolMissing(NAME, INSTALL)


def _caches() -> list[Path]:
    """The checkout's own, then the user's (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [_CHECKOUT, Path(home) / "connect-chaos"]
