"""`drop {at, segment, port?, from?, to?}`: segments vanish."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect, spoken
from chaos.faults._armed import Touching
from chaos.faults._rules import FIREWALL, Selection, armed, required
from chaos.fields import NodeName, Port, Segments
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class Drop:
    """Segments vanish at a node, without a word to anybody (iptables DROP).

    Wire: the segment is not seen beyond `at`; its sender retransmits on its schedule.
    By hand: `iptables -A INPUT -p tcp --dport 8080 --tcp-flags SYN,ACK,RST,FIN SYN -j DROP`
    Linux: of a SYN or SYN-ACK, connect() fails with ETIMEDOUT after the SYN schedule; of what comes later, connect()
        succeeds and the data waits; a datagram is lost, and in the client's own OUTPUT send() says EPERM.
    Imitates: a firewall or security group that drops silently; a host that lost its power; a lossy path.
    """

    requires: ClassVar[tuple[str, ...]] = (*FIREWALL, "match:bpf")

    sockets: ClassVar[tuple[str, ...]] = ("stream", "datagram", "raw")

    at: NodeName
    segment: Segments
    port: Port | None = None
    from_: NodeName | None = None
    to: NodeName | None = None

    def needs(self, setting: Setting) -> tuple[str, ...]:
        """Of `requires`: telling segments by their payload takes a match of its own."""
        return required(self.segment)

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """A datagram is no segment of any kind."""
        if setting.type != "stream" and self.segment != ("any",):
            yield "segment", f"a {setting.type} socket has no segments to choose from: say `any`"

    def _chosen(self) -> Selection:
        return Selection(self.at, self.segment, self.port, self.from_, self.to)

    def effect(self, setting: Setting) -> Effect:
        """Silence."""
        chosen = self._chosen()
        meets, behind = chosen.meets(setting), chosen.behind(setting)
        return Effect(f"{self.at} drops {spoken(meets)}, without a word to anybody", self.at, meets, behind=behind)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        with armed(lab.nodes[self.at], lab.setting.family, self._chosen().rules(lab, ["-j", "DROP"])) as rules:
            yield Touching(rules.hits)
