"""What of a plan is another one where the services are containers: they bring their namespaces, and their programs.

Compose starts them without a network; `ip netns attach` gives a container's namespace the node's name, so that the
links, routes, rules and the wire are typed as ever. What a service runs itself is not played by a program of ours, and
a client is run by exec in its container. The lab does otherwise (docs/docker.md): it has agents in containers, so that
it works with an engine on another machine; a person has a shell on that one.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from chaos import byhand, toxiproxy

if TYPE_CHECKING:
    from chaos.agent.lab import RouteSpec
    from chaos.backends.fake import Operation
    from chaos.model import Service, Topology

PROJECT: Final = "chaos-by-hand"
HEAD: Final = """\
# On the machine of the Docker Engine, whose containers' namespaces get names: `ip netns attach`.
# It starts the Compose project {project}, and removes it with its volumes; your images are not pulled or built.\
"""


class Containers:
    """The services of a topology as containers of one Compose project; what is no service of its file is none."""

    def __init__(self, topology: Topology) -> None:
        self._file = topology.file
        self._services = {name: it for name, it in topology.services.items() if not it.resolver}
        self.products = frozenset(name for name, it in self._services.items() if it.product or it.proxy)

    @property
    def head(self) -> str:
        """What the plan's reader must have."""
        return HEAD.format(project=PROJECT)

    def up(self) -> list[str]:
        """Start them, without a network."""
        services = "\n".join(f"  {name}: {{{self._override(it)}}}" for name, it in self._services.items())
        argv = shlex.join(["docker", "compose", "-p", PROJECT, "-f", self._file, "-f", "-"])
        return [f"{argv} up -d --no-build --pull never <<'END' || exit", f"services:\n{services}\nEND"]

    def _override(self, service: Service) -> str:
        words = ["network_mode: none", "networks: !reset null", "ports: !reset []", "restart: !reset null"]
        if service.proxy is not None:
            words.append(f"command: {json.dumps(toxiproxy.ARGUMENTS)}")
        return ", ".join(words)

    def down(self) -> str:
        """Remove them."""
        return shlex.join(["docker", "compose", "-p", PROJECT, "down", "-v", "-t", "0"])

    def namespace(self, node: str) -> str:
        """The line that makes a node's namespace, or finds it."""
        name = byhand.namespace(node)
        if node not in self._services:
            return f"ip netns add {name}"
        return f"ip netns attach {name} $(docker inspect -f '{{{{.State.Pid}}}}' {_container(node)})"

    def names(self, node: str) -> list[str]:
        """Give a container the /etc/hosts that its node has; programs of the host's have it by ip-netns(8)."""
        if node not in self._services:
            return []
        written = shlex.join(["docker", "exec", "-i", "-u", "0", _container(node), "sh", "-c", "cat > /etc/hosts"])
        return [f"{written} < /etc/netns/{byhand.namespace(node)}/hosts"]

    def commands(self, operation: Operation, routes: Sequence[RouteSpec]) -> list[str]:
        """As byhand.commands: what products do themselves is no line."""
        if operation.node in self.products:
            if operation.name in ("listener", "program"):
                return [_awaited(operation)]
            if operation.name == "attempt":
                return [shlex.join(["docker", "exec", _container(operation.node), *byhand.program(operation)])]
        lines = byhand.commands(operation, routes)
        return [*lines, *self.names(operation.node)] if operation.name == "names" else lines


def _container(node: str) -> str:
    """As Compose names the one container of a service."""
    return f"{PROJECT}-{node}-1"


def _awaited(operation: Operation) -> str:
    """Until a container's own program listens."""
    listening = byhand.inside(operation.node, "ss", "-Hltn", f"sport = :{operation.arguments['port']}")
    return f"until {listening} | grep -q .; do sleep 0.1; done"
