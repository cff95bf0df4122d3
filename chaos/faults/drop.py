"""`drop {at, segment, port?, from?, to?}`: segments vanish."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chaos.faults._armed import Touching
from chaos.faults._rules import Selection, armed
from chaos.fields import NodeName, Port, Segments
from chaos.model import Lab


@dataclass(frozen=True)
class Drop:
    """Segments vanish at a node, without a word to anybody (iptables DROP)."""

    at: NodeName
    segment: Segments
    port: Port | None = None
    from_: NodeName | None = None
    to: NodeName | None = None

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        chosen = Selection(self.at, self.segment, self.port, self.from_, self.to)
        with armed(lab.nodes[self.at], lab.setting.family, chosen.rules(lab, ["-j", "DROP"])) as rules:
            yield Touching(rules.hits)
