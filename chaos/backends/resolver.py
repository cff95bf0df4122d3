"""The host's end of a node's DNS server, which its agent runs (model.Resolver; chaos/agent/resolver.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chaos.backends.channel import AgentNode

ANSWER = 10.0
"""Seconds for an answer of the child."""


class AgentResolver:
    """One DNS server. `address` is where it is asked; `zone` has the addresses of each name."""

    def __init__(self, node: AgentNode, zone: Mapping[str, Sequence[str]], packages: str | None) -> None:
        self.node, self.address = node.name, node.address
        self._child = node.start("resolver", address=node.address, zone=zone, packages=packages)

    def await_ready(self) -> None:
        """Return when it serves. Raises ToolMissing when its node has no dnslib."""
        self._child.expect("ready", ANSWER)

    def serve(self, zone: Mapping[str, Sequence[str]]) -> None:
        """Answer from another zone."""
        self._child.tell({"zone": zone})
        self._child.expect("zoned", ANSWER)

    def behave(self, answer: str, *, by: float = 0.0, tcp: bool = True) -> None:
        self._child.tell({"behave": {"answer": answer, "by": by, "tcp": tcp}})
        self._child.expect("behaves", ANSWER)

    def answered(self) -> int:
        self._child.tell({"answered": True})
        return int(self._child.expect("answered", ANSWER))
