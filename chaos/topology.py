"""Topologies: Compose files as both backends read them.

A name (`client-server`) is a folder of compose/: one that is shipped, or one of the project's own, in a compose/
beside the scenario or above it up to the current directory. Anything with a `/` or a file's ending is a path from the
scenario's folder. Of a Compose file only the services' names, `image` and our `x-chaos` are read; the rest is Docker's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import PlainValidator, WithJsonSchema

from chaos import typed
from chaos.errors import Problem, ScenarioError
from chaos.fields import NODE_NAME, Argv, Port
from chaos.marked import Marked
from chaos.model import NODE_IMAGE, ROUTER, Endpoint, Service, Topology
from chaos.ranges import brief
from chaos.source import Source, read, shown
from chaos.suggest import did_you_mean
from chaos.yamltext import parse

_LIMIT: Final = 1024 * 1024
_HERE: Final = Path(__file__).resolve().parent
_SHIPPED: Final = (_HERE.parent / "compose", _HERE / "compose")
"""The checkout's own folder, and where a wheel puts it."""


def _upstream(value: Any) -> Endpoint:
    node, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not re.match(NODE_NAME, node) or not re.fullmatch(r"[1-9]\d{0,4}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(f"expected an upstream such as 'server:8080', got {brief(value)}")
    return Endpoint(node, int(port))


@dataclass(frozen=True)
class Netns:
    """What a service runs in the netns backend, from the host's file system, in place of its image."""

    command: Argv


@dataclass(frozen=True)
class Toxiproxy:
    """A service that is Toxiproxy: the port that it proxies, and where to."""

    listen: Port
    upstream: Annotated[Endpoint, PlainValidator(_upstream), WithJsonSchema({"type": "string", "pattern": r":\d+$"})]


@dataclass(frozen=True)
class Extension:
    """`x-chaos` of a service; `listen` is the port on which it accepts."""

    netns: Netns | None = None
    toxiproxy: Toxiproxy | None = None
    listen: Port | None = None


def find(name: str, beside: Path) -> Topology:
    """The topology of this name or path, seen from the folder `beside`. ScenarioError when there is none."""
    path = locate(name, beside)
    if path is None:
        raise ScenarioError([Problem("topology", 0, 0, unknown(name, beside))])
    return load(path)


def locate(name: str, beside: Path) -> Path | None:
    """Where this topology's Compose file is, or None."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = beside / name
        return path if "\0" not in name and path.is_file() else None
    if not re.match(NODE_NAME, name):
        return None
    return _shipped(name) or _among(name, _beside(beside))


@cache
def _shipped(name: str) -> Path | None:
    """A topology of this package, which stays as it is."""
    return _among(name, _SHIPPED)


def _among(name: str, folders: Iterable[Path]) -> Path | None:
    files = (folder / name / "compose.yaml" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def names(beside: Path) -> list[str]:
    """The topologies that can be named here."""
    found = {file.parent.name for folder in (*_SHIPPED, *_beside(beside)) for file in folder.glob("*/compose.yaml")}
    return sorted(found)


def unknown(name: str, beside: Path) -> str:
    """The message for a topology that does not exist."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        return f"no Compose file `{shown(beside / name)}`"
    known = names(beside)
    return f"unknown topology `{name}`" + (did_you_mean(name, known) or f"; known: {', '.join(known)}")


def load(path: Path) -> Topology:
    """Read a Compose file; read again only when it has changed. ScenarioError with all of its problems."""
    try:
        status = path.stat()
    except OSError:
        return _load(path, (0, 0))  # and let the reader say why
    return _load(path, (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=256)
def _load(path: Path, _stamp: tuple[int, int]) -> Topology:
    source = read(path, _LIMIT)
    root = parse(source, strict=False)
    services = root.get("services")
    if services is None or not isinstance(services.value, dict) or not services.value:
        raise ScenarioError([source.problem(root.place, "a Compose file has `services`, with at least one in it")])
    found = {name: _service(source, name, services) for name in services.value}
    for name, service in found.items():
        if service.proxy and service.proxy[1].node not in found:
            place = services.value[name].find(("x-chaos", "toxiproxy", "upstream"))
            source.complain(place, f"no service `{service.proxy[1].node}`{did_you_mean(service.proxy[1].node, found)}")
    source.stop()
    return Topology(path.resolve().parent.name, str(path.resolve()), found)


def _service(source: Source, name: str, services: Marked) -> Service:
    place, node = services.keys[name], services.value[name]
    if name == ROUTER:
        source.complain(place, f"the name `{ROUTER}` is taken by the node that the lab adds")
    elif not re.match(NODE_NAME, name):
        source.complain(place, f"`{name[:50]}`: a node's name is a-z, 0-9 and -, at most 32 characters")
    extension, named = _extension(source, node), node.get("image")
    image = named.value if named and isinstance(named.value, str) else None
    own = node.get("build") is None and (image is None or image.partition(":")[0] == NODE_IMAGE)
    return Service(
        name=name,
        image=image,
        product=extension.toxiproxy is None and not (own and extension.netns is None),
        command=extension.netns.command if extension.netns else (),
        listen=extension.listen,
        proxy=(extension.toxiproxy.listen, extension.toxiproxy.upstream) if extension.toxiproxy else None,
    )


def _extension(source: Source, service: Marked) -> Extension:
    node = service.get("x-chaos")
    if node is None or node.value is None:
        return Extension()

    def complain(path: typed.Path, message: str, key: bool) -> None:
        source.complain(node.find(path, key), message)

    return typed.read(Extension, node.plain(), complain) or Extension()


def _beside(beside: Path) -> Iterator[Path]:
    here, folder = Path.cwd(), beside.resolve()
    for above in (folder, *folder.parents):
        yield above / "compose"
        if above == here or not above.is_relative_to(here):
            return
