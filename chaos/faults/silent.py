"""`silent {at}`: the connection is accepted, its data is read, and no answer ever comes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.conversation import direction, opener
from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._acting import listener_that
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.fields import NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class Silent(OfOurListener):
    """Our listener accepts and reads, and never answers.

    Wire: a whole handshake, the data and its ACK; no data comes back.
    By hand: `socat -u TCP-LISTEN:8080,fork OPEN:/dev/null`, or a server whose handler sleeps
    Linux: connect() and send succeed; recv waits until the client's own time-out, or for ever.
    Imitates: a deadlocked server; a query that waits for a lock; a backend that waits for its own backend.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    sockets: ClassVar[tuple[str, ...]] = ("stream", "datagram", "raw")

    at: NodeName

    def effect(self, setting: Setting) -> Effect:
        """No answer to what was sent."""
        return Effect(f"the listener at {self.at} accepts, reads, and never answers", self.at, peer="silent")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        with listener_that(lab, "silent", _answered) as touching:
            yield touching


def _answered(evidence: Evidence) -> str | None:
    seen = evidence.leg(evidence.server)
    client = opener(seen)
    found = [packet for packet in seen if packet.length and direction(packet, client) == "<"]
    return f"the peer sent {len(found)} segments with data all the same" if found else None
