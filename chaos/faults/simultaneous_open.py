"""`simultaneous-open {at}`: the target dials too, and the SYNs cross (RFC 9293, section 3.5, figure 8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.conversation import direction, opener, segment
from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._listener import OfOurListener
from chaos.fields import NodeName
from chaos.model import Lab, Setting


@dataclass(frozen=True)
class SimultaneousOpen(OfOurListener):
    """Nobody listens: the target dials the client's port (which it must `bind`) while the client dials its.

    Wire: two SYNs cross, and each is answered with a SYN-ACK of the SYN's own number; one connection comes of it.
    By hand: `nc -p 8080 CLIENT 5555` and `nc -p 5555 SERVER 8080` within a round trip
    Linux: connect() succeeds at both ends, by way of SYN_SENT and SYN_RECV.
    Imitates: hole punching through two NATs, as peer-to-peer programs do.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    at: NodeName

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """The target must know which port to dial."""
        yield from super().check(setting, expect)
        if setting.bound is None:
            yield "at", "simultaneous-open dials the port that the client binds: say `client: {bind: {port: 5555}}`"

    def effect(self, setting: Setting) -> Effect:
        """Another way to be connected."""
        says = f"nobody listens at {self.at}, which dials port {setting.bound} of {setting.client} at the same time"
        return Effect(says, self.at, peer="crossing")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node, client = lab.nodes[self.at], lab.nodes[lab.setting.client]
        with lab.listening(do="absent"):
            here, there = (node.address, lab.setting.listen.port), (client.address, lab.setting.bound or 0)
            crossing = node.start("crossing", here=here, there=there)
            try:
                crossing.next(5.0)

                def hits() -> int:
                    crossing.tell({"opened": True})
                    return int(crossing.next(5.0)["opened"])

                yield Touching(hits, _no_syn_back)
                crossing.tell({"forget": True})
                crossing.next(5.0)
            finally:
                crossing.end()


def _no_syn_back(evidence: Evidence) -> str | None:
    seen = evidence.leg(evidence.server)
    crossed = [it for it in seen if segment(it) == "syn" and direction(it, opener(seen)) == "<"]
    return None if crossed else "the client's capture has no SYN from its target"
