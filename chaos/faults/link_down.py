"""`link-down {at}`: a node's interface is down: no carrier, no routes by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._seen import to_target
from chaos.fields import NodeName
from chaos.model import ROUTER, Lab


@dataclass(frozen=True)
class LinkDown:
    """The interface of a node is down; its routes and addresses come back afterwards."""

    at: NodeName

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node = lab.nodes[self.at]
        interface = node.interface if self.at != ROUTER else lab.link(ROUTER, lab.setting.target.node)
        carrier = node.call("link", do="down", interface=interface)

        def hits() -> int:
            sent = len(to_target(lab.packets(lab.setting.client), lab, "syn"))
            if self.at == lab.setting.client:
                return 1  # the attempt, which has returned
            heard = len(to_target(lab.packets(lab.setting.target.node), lab, "syn"))
            return max(0, sent - heard)

        def doubt(evidence: Evidence) -> str | None:
            if carrier:
                return f"{interface} of {self.at!r} has a carrier"
            left = evidence.packets[evidence.client] if self.at == evidence.client else ()
            return f"{len(left)} packets left the client all the same" if left else None

        try:
            yield Touching(hits, doubt)
        finally:
            node.call("link", do="up", interface=interface)
