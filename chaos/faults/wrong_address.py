"""`wrong-address {at}`: the target's name leads to an address that swallows everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chaos.effect import Effect
from chaos.faults._armed import Touching
from chaos.faults._rules import armed
from chaos.fields import NodeName
from chaos.model import ROUTER, Lab, Setting


@dataclass(frozen=True)
class WrongAddress:
    """At this node the target's name leads to an address that is routed, and whose packets the router swallows."""

    at: NodeName

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """The name must be wrong where it is used, and there must be a router to swallow."""
        if self.at != setting.client:
            yield "at", f"the name is looked up at the client, {setting.client!r}"
        if setting.path == "direct":
            yield "at", "wrong-address needs the router; `path: direct` leaves it out"

    def effect(self, setting: Setting) -> Effect:
        """Silence from an address that is nobody's."""
        says = (
            f"at {self.at} the target's name leads to an address that belongs to nobody; the router swallows its SYNs"
        )
        return Effect(says, ROUTER, ("> syn",))

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        rule = ("PREROUTING", "-i", "wire0", "-d", lab.nowhere, "-p", "tcp", "--syn", "-j", "DROP")
        with armed(lab.nodes[ROUTER], lab.setting.family, [rule], table="raw") as rules:
            lab.names(self.at, {lab.setting.target.node: lab.nowhere})
            try:
                yield Touching(rules.hits)
            finally:
                lab.names(self.at, {})
