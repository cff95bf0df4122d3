"""`reset {at, segment, port?}`: a firewall answers segments with a RST."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chaos.effect import Effect, spoken
from chaos.faults._armed import Touching
from chaos.faults._rules import Selection, armed
from chaos.faults._seen import no_reset
from chaos.fields import NodeName, Port, Segments
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class Reset:
    """A firewall answers segments with a RST in the peer's name (iptables REJECT --reject-with tcp-reset)."""

    at: NodeName
    segment: Segments = ("syn",)
    port: Port | None = None

    def effect(self, setting: Setting) -> Effect:
        """A RST to the sender."""
        chosen = Selection(self.at, self.segment, self.port)
        meets = chosen.meets(setting)
        says = f"{self.at} answers {spoken(meets)} with a RST in the receiver's name"
        return Effect(says, self.at, meets, "rst", behind=chosen.behind(setting))

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        chosen = Selection(self.at, self.segment, self.port)
        verdict = ["-j", "REJECT", "--reject-with", "tcp-reset"]
        with armed(lab.nodes[self.at], lab.setting.family, chosen.rules(lab, verdict)) as rules:
            yield Touching(rules.hits, no_reset(chosen.end(lab.setting)))
