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
from chaos.faults._children import started, told
from chaos.faults._listener import OfOurListener
from chaos.faults._rules import Selection
from chaos.faults._wire import NO_WIRE
from chaos.fields import NodeName
from chaos.model import ROUTER, Lab, Setting


@dataclass(frozen=True)
class SimultaneousOpen(OfOurListener):
    """Nobody listens: the target dials the client's port (which it must `bind`) while the client dials its. The wire
    holds the client's SYN until the target's comes by: of two that meet by chance, one finds nobody there.

    Wire: two SYNs cross, and each is answered with a SYN-ACK of the SYN's own number; one connection comes of it.
    By hand: `nc -p 8080 CLIENT 5555` and `nc -p 5555 SERVER 8080` within a round trip
    Linux: connect() succeeds at both ends, by way of SYN_SENT and SYN_RECV.
    Imitates: hole punching through two NATs, as peer-to-peer programs do.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    at: NodeName

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """The target must know which port to dial, and there must be a wire."""
        yield from super().check(setting, expect)
        if setting.bound is None:
            yield "at", "simultaneous-open dials the port that the client binds: say `client: {bind: {port: 5555}}`"
        if setting.path == "direct":
            yield "at", f"simultaneous-open {NO_WIRE}"

    def effect(self, setting: Setting) -> Effect:
        """Another way to be connected."""
        says = f"nobody listens at {self.at}, which dials port {setting.bound} of {setting.client} at the same time"
        return Effect(says, self.at, peer="crossing")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node, client = lab.nodes[self.at], lab.nodes[lab.setting.client]
        here, there = (node.address, lab.setting.listen.port), (client.address, lab.setting.bound or 0)
        syns = Selection(ROUTER, ("syn",), from_=lab.setting.client, to=self.at).match(lab)
        with (
            lab.listening(do="absent"),
            lab.on_wire({"match": syns, "action": {"do": "meet"}}),
            started(node, "crossing", here=here, there=there) as crossing,
        ):

            def hits() -> int:
                crossing.tell({"opened": True})
                return int(told(crossing, "opened"))

            yield Touching(hits, _no_syn_back)
            crossing.tell({"forget": True})
            told(crossing, "forgotten")


def _no_syn_back(evidence: Evidence) -> str | None:
    seen = evidence.leg(evidence.server)
    crossed = [it for it in seen if segment(it) == "syn" and direction(it, opener(seen)) == "<"]
    return None if crossed else "the client's capture has no SYN from its target"
