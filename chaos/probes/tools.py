"""Programs that some scenarios use; the netns backend does without."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Final

from chaos import command, toxiproxy
from chaos.errors import ToolMissing
from chaos.probes.probe import Probe, tried

CURL: Final = "apt-get install curl"
PATIENCE: Final = 10.0
"""Seconds for a program to say its version."""


def probes() -> Iterator[Probe]:
    """Each program is asked for its version."""
    yield tried("curl", lambda: _first("curl", "--version", install=CURL).partition(" (")[0], CURL)
    mend = toxiproxy.INSTALL
    yield tried("Toxiproxy", lambda: _first(toxiproxy.server(), "-version", install=mend), mend)


def _first(*argv: str, install: str) -> str:
    """The first line that a program prints."""
    if shutil.which(argv[0]) is None:  # also when a folder of PATH may not be read
        raise ToolMissing(argv[0], install)
    return command.output(argv, timeout=PATIENCE, install=install).strip().partition("\n")[0]
