"""`vanish {at, after}`: the peer is gone without a word, as by a power cut: nothing is acknowledged or reset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.conversation import flows
from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._acting import due, listener_that
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.fields import After, NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class Vanish(OfOurListener):
    """The peer of an established connection is gone without a word: it hears nothing, and says nothing any more.

    Wire: what the client sends is not acknowledged and not reset; data and keepalive probes are sent again.
    By hand: `iptables -A INPUT -p tcp --dport 8080 -j DROP`, once the connection is established
    Linux: ETIMEDOUT by TCP_USER_TIMEOUT, keepalive or tcp_retries2, whichever is first; without data none of them.
    Imitates: a power cut, a pulled cable, a NAT box that lost its table.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    at: NodeName
    after: After = "accept"

    def effect(self, setting: Setting) -> Effect:
        """Silence on an established connection."""
        says = f"once it has {due(self.after)}, {self.at} is gone without a word: no ACK, no RST"
        return Effect(says, self.at, peer="vanish", after=self.after)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        with listener_that(lab, "vanish", lambda evidence: _answered(evidence, self.at), self.after) as touching:
            yield touching


def _answered(evidence: Evidence, node: str) -> str | None:
    """Doubt when nothing came to the peer behind the last that it said; the handshake's own end asks for no answer."""
    for flow in flows(evidence.packets.get(node, ())):
        said = max((packet.time_ns for packet in flow.packets if packet.dst == flow.key.client), default=0)
        unheard = [it for it in flow.packets if it.dst != flow.key.client and it.time_ns > said]
        if [it for it in unheard if it is not flow.final_ack]:
            return None
    return f"nothing came to {node!r} that it left unanswered"
