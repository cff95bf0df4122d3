"""`forged-reset {at, sequence?, after?}`: a third party on the path sends a RST in the server's name (RFC 5961)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

from chaos.counters import count
from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._children import started
from chaos.faults._seen import Way, way_to
from chaos.fields import NodeName
from chaos.model import ROUTER, Lab, Setting

Sequence = Literal["exact", "in-window", "outside"]
Moment = Literal["syn", "accept", "data"]
CHALLENGES = "TcpExtTCPChallengeACK"
SAYS: dict[Sequence, str] = {
    "exact": "the number that the client expects, which resets",
    "in-window": "a number elsewhere in the window, which draws a challenge ACK",
    "outside": "a number outside the window, which is ignored",
}
OF_SYN: dict[Sequence, str] = {
    "exact": "it acknowledges the SYN, which refuses",
    "outside": "it acknowledges what was never sent, which is ignored",
}


@dataclass(frozen=True)
class ForgedReset:
    """The router forges a RST in the server's name, once the client has sent its SYN, its final ACK or data.

    Wire: a RST at the client that the server has never sent.
    By hand: `nping --tcp --source-ip SERVER -g 8080 -p PORT --flags rst --seq NUMBER CLIENT`
    Linux: exact: ECONNRESET (of a SYN: ECONNREFUSED). In the window: a challenge ACK goes to the server, which is
        counted (TCPChallengeACK), and the connection lives. Outside: nothing happens; a SYN is sent again at once.
    Imitates: a middle-box that censors or protects, an intrusion prevention system, a blind attacker.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    at: NodeName
    sequence: Sequence = "exact"
    after: Moment = "accept"

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """A third party must be on the path; of a SYN, no window is known."""
        if self.at != ROUTER or setting.path == "direct":
            yield "at", "a third party on the path is the router"
        if self.after == "syn" and self.sequence == "in-window":
            yield "sequence", "before the SYN-ACK there is no window: a RST acknowledges the SYN (exact) or does not"

    def effect(self, setting: Setting) -> Effect:
        """A reset, or nothing that ends anything."""
        told = OF_SYN if self.after == "syn" else SAYS
        when = {"syn": "its SYN", "accept": "its final ACK", "data": "data"}[self.after]
        says = f"when the client has sent {when}, {self.at} sends it a RST in the server's name: {told[self.sequence]}"
        if self.sequence != "exact":
            return Effect(says, self.at, adds="< rst", after=self.after)
        if self.after == "syn":
            return Effect(says, self.at, ("> syn",), "rst")
        return Effect(says, self.at, peer="abort", after=self.after)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        way, client = way_to(lab, lab.setting.target.node), lab.nodes[lab.setting.client]
        wire = "wire1" if self.at == ROUTER else lab.nodes[self.at].interface
        where = {"interface": wire, "address": way.address, "port": way.port}
        with started(lab.nodes[self.at], "forged_reset", **where, sequence=self.sequence, after=self.after) as running:
            before = count(client, CHALLENGES)
            challenged = 0

            def hits() -> int:
                nonlocal challenged
                challenged = count(client, CHALLENGES) - before
                return int(running.ready())

            yield Touching(hits, lambda evidence: self._doubt(evidence, way, challenged))

    def _doubt(self, evidence: Evidence, way: Way, challenged: int) -> str | None:
        if not way.of_end(evidence.packets[evidence.client], "rst"):
            return "the client's capture has no RST"
        if way.of_end(evidence.packets[evidence.server], "rst"):
            return "the server has sent a RST itself"
        if self.after != "syn" and bool(challenged) != (self.sequence == "in-window"):
            return f"the client's kernel has sent {challenged} challenge ACKs"
        return None
