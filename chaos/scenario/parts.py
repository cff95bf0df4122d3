"""The parts of a scenario that are typed by what they name: faults and clients, each by its own dataclass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeVar

from chaos import kinds, typed
from chaos.fields import NODE_NAME
from chaos.marked import Marked
from chaos.model import Client, Fault
from chaos.source import Source
from chaos.suggest import did_you_mean

Probe = Literal["client", "socket"]
"""What makes the baseline and the recovery: the client itself, or our socket probe."""
T = TypeVar("T")


class FaultPart(NamedTuple):
    """A fault, and where its parameters stand."""

    kind: str
    fault: Fault
    at: Marked


class ClientPart(NamedTuple):
    """A client, and where it stands."""

    client: Client
    adapter: str
    probe: Probe
    at: Marked


class Nodes(NamedTuple):
    """The names that may be used: the topology's services, and with them the router if every path has it."""

    services: tuple[str, ...]
    hosts: tuple[str, ...]


class Parts:
    """Reads parts of one file. What is wrong is noted in `source`, and the part is left out.

    `nodes` is None when the topology cannot be read.
    """

    def __init__(
        self, source: Source, nodes: Nodes | None, faults: Mapping[str, type], clients: Mapping[str, type]
    ) -> None:
        self.source, self.nodes, self.fault_classes, self.client_classes = source, nodes, faults, clients

    def read(self, cls: type[T], node: Marked) -> T | None:
        """The node as this dataclass, or None after noting what is wrong."""

        def complain(path: typed.Path, message: str, key: bool) -> None:
            self.source.complain(node.find(path, key), message)

        return typed.read(cls, node.plain(), complain)

    def node(self, path: typed.Path, inside: Marked, *, key: bool = False, router: bool = False) -> None:
        """Check that the value at `path` (or the key) is a node's name; a value of another kind is not ours to note."""
        name = path[-1] if key else inside.at(path)
        known = () if self.nodes is None else self.nodes.hosts if router else self.nodes.services
        if known and isinstance(name, str) and re.match(NODE_NAME, name) and name not in known:
            self.source.complain(inside.find(path, key), kinds.no_node(name, known))

    def parameters(self, cls: type[T], node: Marked, known: tuple[str, ...]) -> T | None:
        """A fault or a client; the nodes that it names are checked whether or not the rest of it is right."""
        if known and isinstance(node.value, dict):
            for key, message in kinds.stray_nodes(cls, node.plain(), known):
                self.source.complain(node.find((key,)), message)
        return self.read(cls, node)

    def faults(self, node: Marked | None) -> tuple[FaultPart, ...]:
        """The list of faults, in order."""
        if node is None:
            return ()
        if not isinstance(node.value, list):
            self.source.complain(node.place, "expected a list such as [{drop: {at: server, segment: syn}}]")
            return ()
        return tuple(found for item in node.value if (found := self.fault(item)))

    def fault(self, item: Marked) -> FaultPart | None:
        """`{closed-port: {at: server}}`; a bare kind when every parameter has a default."""
        if isinstance(item.value, str):
            kind, place, at = item.value, item.place, Marked(item.place, {})
        elif isinstance(item.value, dict) and len(item.value) == 1:
            ((kind, at),) = item.value.items()
            place = item.keys[kind]
            at = Marked(place, {}) if at.value is None else at
        else:
            self.source.complain(item.place, "expected one fault and its parameters, such as {link-down: {at: server}}")
            return None
        if kind not in self.fault_classes:
            self.source.complain(place, kinds.unknown("fault", kind, self.fault_classes))
            return None
        known = self.nodes.hosts if self.nodes else ()
        fault: Fault | None = self.parameters(self.fault_classes[kind], at, known)
        return FaultPart(kind, fault, at) if fault else None

    def client(self, node: Marked) -> ClientPart | None:
        """`{use: ADAPTER}`, `{command: [argv]}` or `{python: "module:function"}`, and the adapter's parameters."""
        if not isinstance(node.value, dict):
            self.source.complain(node.place, "expected a mapping such as {use: socket}")
            return None
        said = [key for key in ("use", "command", "python") if key in node.value]
        for other in said[1:]:
            self.source.complain(node.keys[other], f"`{said[0]}` and `{other}` exclude each other")
        adapter = said[0] if said else "socket"
        if adapter == "use":
            adapter = str(node.value["use"].value)
        if adapter not in self.client_classes:
            self.source.complain(node.find(("use",)), kinds.unknown("client", adapter, self.client_classes))
            return None
        probe = self.probe(node.get("probe"), adapter)
        known = self.nodes.services if self.nodes else ()
        rest = node.without("use", "probe", *said[1:])
        client: Client | None = self.parameters(self.client_classes[adapter], rest, known)
        return ClientPart(client, adapter, probe, node) if client else None

    def probe(self, node: Marked | None, adapter: str) -> Probe:
        """A program of the user's may have effects that must not happen three times: our probe stands in for it."""
        if node is None:
            return "socket" if adapter == "command" else "client"
        if node.value not in ("client", "socket"):
            near = did_you_mean(node.value, ("client", "socket"))
            self.source.complain(node.place, f"expected 'client' or 'socket'{near}")
        return "client" if node.value == "client" else "socket"
