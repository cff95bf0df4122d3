"""`route {at, kind, to?}`: a node's routing table refuses, loses or lacks the way (ip-route(8), ip(7))."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._routes import added, routes, taken
from chaos.faults._seen import way_to
from chaos.fields import NodeName
from chaos.model import ROUTER, Family, Lab, Setting

Kind = Literal["unreachable", "prohibit", "blackhole", "throw", "missing"]
IN_FRONT = ("metric", "1")
"""Of the lab's own routes, whose metric is worse."""
ANSWERS = ("unreachable", "prohibit", "throw", "missing")

AT_CLIENT: dict[Kind, str] = {
    "unreachable": "EHOSTUNREACH",
    "prohibit": "EACCES",
    "blackhole": "EINVAL",
    "throw": "ENETUNREACH",
    "missing": "ENETUNREACH",
}
"""What connect() returns without a way (ip-route(8), ip(7); net/ipv4/fib_semantics.c, fib_props)."""

AT_ROUTER: dict[Family, dict[Kind, str]] = {
    "ipv4": {"unreachable": "icmp:3/1", "prohibit": "icmp:3/13", "throw": "icmp:3/0", "missing": "icmp:3/0"},
    "ipv6": {"unreachable": "icmp:1/0", "prohibit": "icmp:1/1", "throw": "icmp:1/0", "missing": "icmp:1/0"},
}
"""What a router answers (net/ipv4/route.c, ip_error; net/ipv6/route.c, ip6_pkt_drop); nothing for a blackhole."""


@dataclass(frozen=True)
class Route:
    """A node's route to another node refuses (unreachable, prohibit), swallows (blackhole) or is missing.

    Wire: at the client nothing is sent; at the router an ICMP error of its own, or nothing (blackhole).
    By hand: `ip route add prohibit 198.18.2.2/32`
    Linux: at the client EHOSTUNREACH, EACCES, EINVAL or ENETUNREACH at once, by kind; at the router what its ICMP error
        stands for, or ETIMEDOUT after the SYN schedule.
    Imitates: a VPN that went down; a route that was withdrawn; a null route against an attack; a wrong default route.
    """

    requires: ClassVar[tuple[str, ...]] = ("program:ip",)

    at: NodeName
    kind: Kind
    to: NodeName | None = None

    def effect(self, setting: Setting) -> Effect:
        """The client's kernel refuses at once; a router's answers with ICMP, or not at all."""
        goal = self._goal(setting)
        if self.at == setting.client and goal == setting.target.node:
            says = f"{self.at} has no way to {goal}: its route is {self.kind}"
            return Effect(says, self.at, errno=AT_CLIENT[self.kind])
        if self.at == ROUTER and goal == setting.target.node:
            answer = AT_ROUTER[setting.family].get(self.kind)
            says = f"the router's route to {goal} is {self.kind}: it "
            return Effect(says + ("says so by ICMP" if answer else "swallows the SYN"), ROUTER, ("> syn",), answer)
        back = ("< syn-ack", "< ack", "< data") if goal == setting.client and self.at != setting.client else ()
        return Effect(f"{self.at} has no way to {goal}: its route is {self.kind}", self.at, back)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node = lab.nodes[self.at]
        goal = lab.nodes[self._goal(lab.setting)].address
        before = routes(node, goal)
        with taken(node, goal, before[0]) if self.kind == "missing" else added(node, self.kind, goal, *IN_FRONT):
            changed = routes(node, goal)

            def doubt(evidence: Evidence) -> str | None:
                return self._doubt(evidence, before, changed, lab)

            yield Touching(lambda: self._hits(lab), doubt)

    def _hits(self, lab: Lab) -> int:
        """Segments that came in and did not get out. At the client: the attempt, which has returned."""
        if self.at == lab.setting.client:
            return 1
        way = way_to(lab, self.at if self.at == lab.setting.listen.node else self._goal(lab.setting))
        sent, heard = (way.to_end(lab.packets(node), "syn") for node in (way.dialler, way.node))
        answered, told = (way.of_end(lab.packets(node), "syn-ack") for node in (way.node, way.dialler))
        if self.at == ROUTER and self._goal(lab.setting) == way.dialler:
            return max(0, len(answered) - len(told))
        if self.at == ROUTER:
            return max(0, len(sent) - len(heard))
        return max(0, len(heard) - len(answered)) if self.at == way.node else 0

    def _goal(self, setting: Setting) -> str:
        return self.to or (setting.client if self.at == setting.target.node else setting.target.node)

    def _doubt(
        self, evidence: Evidence, before: Sequence[dict[str, str]], changed: Sequence[dict[str, str]], lab: Lab
    ) -> str | None:
        if before == changed:
            return f"the routes of {self.at!r} are what they were: {changed}"
        seen = evidence.packets[evidence.client]
        goal = self._goal(lab.setting)
        if self.at == ROUTER and goal == lab.setting.target.node and self.kind in ANSWERS:
            return None if any(packet.icmp for packet in seen) else "the client's capture has no ICMP from the router"
        left = sum(packet.dst == lab.nodes[goal].address for packet in seen) if self.at == evidence.client else 0
        return f"{left} packets left the client all the same" if left else None
