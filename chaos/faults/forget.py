"""`forget {at, after}`: the peer loses the connection without a word, as by a reboot: half-open (RFC 9293, 3.5.1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.conversation import direction, opener, segment
from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._acting import due, listener_that
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.fields import After, NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class Forget(OfOurListener):
    """The server forgets the connection (TCP_REPAIR): no FIN, no RST; a later segment is answered with a RST.

    Wire: nothing, until the client sends; then a RST with the sequence number that its segment acknowledges.
    By hand: `sock.setsockopt(IPPROTO_TCP, TCP_REPAIR, 1); sock.close()` in the server, as root
    Linux: the first send succeeds, the next call fails with ECONNRESET; a recv alone waits for ever.
    Imitates: a rebooted server; a load balancer or NAT that lost its state; a failover without connection tracking.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    at: NodeName
    after: After = "accept"

    def effect(self, setting: Setting) -> Effect:
        """Ours to an established connection."""
        says = f"once it has {due(self.after)}, the listener at {self.at} forgets the connection without a word"
        says += ", and its kernel answers what comes for it with a RST"
        return Effect(says, self.at, peer="forget", after=self.after)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        left: list[object] = []

        def doubt(evidence: Evidence) -> str | None:
            if left:
                return f"the server still holds the connection: {left}"
            return _unanswered(evidence)

        with listener_that(lab, "forget", doubt, self.after) as touching:

            def hits() -> int:
                left[:] = lab.nodes[self.at].call("connections", port=lab.setting.listen.port)
                return touching.hits()

            yield Touching(hits, doubt)


def _unanswered(evidence: Evidence) -> str | None:
    """Nothing but a RST may come back for what the client sends to a connection that does not exist."""
    seen = evidence.leg(evidence.server)
    client = opener(seen)
    closing = [packet for packet in seen if direction(packet, client) == "<" and segment(packet) == "fin"]
    return "the peer closed with a FIN: it remembered the connection" if closing else None
