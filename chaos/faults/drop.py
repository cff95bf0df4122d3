"""`drop {at, segment, nth?, port?, from?, to?, larger?}`: segments vanish."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect, spoken
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._crossing import crossings
from chaos.faults._rules import FIREWALL, Selection, armed, required
from chaos.faults._wire import NO_WIRE, bounds_of, told
from chaos.fields import NodeName, Nth, Port, Positive, Segments
from chaos.model import ROUTER, Lab, Setting


@dataclass(frozen=True)
class Drop:
    """Segments vanish at a node, without a word: at the router on the wire, elsewhere by iptables DROP.

    Wire: the segment is not seen beyond `at`; its sender retransmits on its schedule.
    By hand: `iptables -A INPUT -p tcp --dport 8080 --tcp-flags SYN,ACK,RST,FIN SYN -j DROP`
    Linux: of a SYN or SYN-ACK, connect() fails with ETIMEDOUT after the SYN schedule; of what comes later, connect()
        succeeds and the data waits; with `nth`, all goes well, and is slow by as many retransmissions. A datagram is
        lost, and in the client's own OUTPUT send() says EPERM.
    Imitates: a firewall or security group that drops silently; a host that lost its power; with `nth`, a lossy path;
        with `larger`, a path MTU black hole.
    """

    requires: ClassVar[tuple[str, ...]] = (*FIREWALL, "match:bpf")

    sockets: ClassVar[tuple[str, ...]] = ("stream", "datagram", "raw")

    at: NodeName
    segment: Segments
    port: Port | None = None
    from_: NodeName | None = None
    to: NodeName | None = None
    nth: Nth | None = None
    larger: Positive | None = None

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """Only the wire counts segments and measures them; a datagram is no segment of any kind."""
        if setting.type != "stream" and self.segment != ("any",):
            yield "segment", f"a {setting.type} socket has no segments to choose from: say `any`"
        needed = f"`at: {ROUTER}`" if setting.type == "stream" else "and of TCP alone"
        for key in ("nth", "larger"):
            if getattr(self, key) is not None and not self._on_wire(setting):
                yield key, f"only the wire can tell: {needed}"
        if self.at == ROUTER and setting.path == "direct":
            yield "at", f"drop at the router {NO_WIRE}"

    def needs(self, setting: Setting) -> tuple[str, ...]:
        """Of `requires`: the wire needs none; telling segments by their payload takes a match of its own."""
        return () if self._on_wire(setting) else required(self.segment)

    def _on_wire(self, setting: Setting) -> bool:
        """Whether the relay does it, which knows TCP; datagrams vanish by the router's iptables."""
        return self.at == ROUTER and setting.type == "stream"

    def _chosen(self) -> Selection:
        return Selection(self.at, self.segment, self.port, self.from_, self.to, self.nth, self.larger)

    def effect(self, setting: Setting) -> Effect:
        """Silence."""
        chosen = self._chosen()
        meets, behind = chosen.meets(setting), chosen.behind(setting)
        says = f"{self.at} drops {told(self.nth, self.larger)}{spoken(meets)}, without a word to anybody"
        return Effect(says, self.at, meets, nth=bounds_of(self.nth), larger=self.larger or 0, behind=behind)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        if self._on_wire(lab.setting):
            with lab.on_wire({"match": self._chosen().match(lab), "action": {"do": "drop"}}) as rule:
                yield Touching(rule.hits, lambda evidence: self._doubt(evidence, lab.setting))
            return
        with armed(lab.nodes[self.at], lab.setting.family, self._chosen().rules(lab, ["-j", "DROP"])) as rules:
            yield Touching(rules.hits)

    def _doubt(self, evidence: Evidence, setting: Setting) -> str | None:
        if any(crossing.missing > 0 for crossing in crossings(evidence, self._chosen(), setting)):
            return None
        return "all that left one end came to the other"
