"""The host's end of a Toxiproxy: the proxy in front of a listener, driven by its node's own agent (model.Proxy)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaos.backends.channel import AgentNode, ChildOf
from chaos.errors import LabError

ANSWER = 10.0
"""Seconds for an answer of the child, whose own deadline for a call is half of that (chaos/agent/toxiproxy.py)."""
NAME, NAME_6 = "chaos", "chaos-ipv6"
"""One that listens at an address of either family: containers that serve labs of both have two."""

Address = tuple[str, int]


class AgentProxy:
    """One proxy of the Toxiproxy in a node. `listen` and `upstream` are addresses and ports.

    Whatever Toxiproxy does not do as it was told is a LabError that says what it says instead.
    """

    def __init__(self, node: str, driver: ChildOf, listen: Address, upstream: Address, name: str) -> None:
        self.node, self.listen, self.upstream, self._driver, self._name = node, listen, upstream, driver, name
        self.version = ""

    @classmethod
    def start(cls, node: AgentNode, listen: Address, upstream: Address) -> AgentProxy:
        """Start what drives it; `create` makes it, once its server serves."""
        name = NAME_6 if ":" in listen[0] else NAME
        return cls(node.name, node.start("toxiproxy", libraries=["toxiproxy"]), listen, upstream, name)

    def create(self) -> None:
        """Make the proxy; from now on it listens."""
        made = self._ask("create", listen=_shown(self.listen), upstream=_shown(self.upstream))
        self.version = str(made["version"])

    def beside(self, port: int) -> AgentProxy:
        """Another proxy of the same server, to the same upstream."""
        other = AgentProxy(self.node, self._driver, (self.listen[0], port), self.upstream, f"{self._name}-{port}")
        other.create()
        return other

    def add(self, toxic: Mapping[str, Any]) -> None:
        self._ask("add", toxic=toxic)

    def remove(self, name: str) -> None:
        self._ask("remove", toxic=name)

    def enable(self, *, enabled: bool) -> None:
        self._ask("enable", enabled=enabled)

    def passed(self) -> Mapping[str, tuple[int, int]]:
        return {way: (received, sent) for way, (received, sent) in self._ask("passed").items()}

    def check(self) -> None:
        """LabError unless it is enabled and has no toxics: between two legs it must be as it was made."""
        found = self._ask("look")
        if not found["enabled"] or found["toxics"]:
            raise LabError(f"Toxiproxy in node {self.node!r} is not as it was made: {found}")

    def _ask(self, question: str, **arguments: Any) -> Any:
        self._driver.tell({"toxiproxy": {"do": question, "name": self._name, **arguments}})
        return self._driver.expect("result", ANSWER)


def _shown(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
