"""`reset {at, segment, port?}`: a firewall answers segments with a RST."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect, spoken
from chaos.faults._armed import Touching
from chaos.faults._rules import FIREWALL, REJECT, Selection, armed, required
from chaos.faults._seen import no_reset, no_reset_at
from chaos.fields import NodeName, Port, Segments
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class Reset:
    """A firewall answers segments with a RST in the peer's name (iptables REJECT --reject-with tcp-reset).

    Wire: a RST to the sender from the peer's address; the segment goes no further.
    By hand: `iptables -A FORWARD -p tcp --dport 8080 --syn -j REJECT --reject-with tcp-reset`
    Linux: of a SYN, connect() fails with ECONNREFUSED after one round trip; of a SYN-ACK, the server is told and the
        client hears nothing; of data, ECONNRESET.
    Imitates: a firewall that rejects politely; a middle-box that censors or that lost its state.
    """

    requires: ClassVar[tuple[str, ...]] = (*FIREWALL, "match:bpf", REJECT)

    at: NodeName
    segment: Segments = ("syn",)
    port: Port | None = None

    def needs(self, setting: Setting) -> tuple[str, ...]:
        """Of `requires`: telling segments by their payload takes a match of its own."""
        return (*required(self.segment), REJECT)

    def effect(self, setting: Setting) -> Effect:
        """A RST to the sender."""
        chosen = Selection(self.at, self.segment, self.port)
        meets = chosen.meets(setting)
        says = f"{self.at} answers {spoken(meets)} with a RST in the receiver's name"
        return Effect(says, self.at, meets, "rst", behind=chosen.behind(setting))

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        chosen = Selection(self.at, self.segment, self.port)
        end, meets = chosen.end(lab.setting), chosen.meets(lab.setting)
        doubt = no_reset_at(end) if meets and all(each[0] == "<" for each in meets) else no_reset(end)
        verdict = ["-j", "REJECT", "--reject-with", "tcp-reset"]
        with armed(lab.nodes[self.at], lab.setting.family, chosen.rules(lab, verdict)) as rules:
            yield Touching(rules.hits, doubt)
