"""`duplicate {segment, nth?, ...}`: segments come twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from chaos.evidence import Evidence
from chaos.faults._crossing import Crossing
from chaos.faults._wire import OnTheWire


@dataclass(frozen=True, kw_only=True)
class Duplicate(OnTheWire):
    """Segments come twice, one right behind the other (the wire sends them again).

    Wire: one at its sender, two at the other end, whose TCP answers the second with an ACK (RFC 9293, 3.10.7.4).
    By hand: `tc qdisc add dev wire0 root netem duplicate 100%` (every packet, and netem must be in the kernel).
    Linux: nothing that a program could see.
    Imitates: a flapping link, a switching loop, a retransmission that was not needed.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    def _does(self, which: str) -> str:
        return f"sends {which} on twice"

    def _data(self, meets: tuple[str, ...]) -> Mapping[str, Any]:
        return {"adds": meets[0]} if meets else {}

    def _doubt(self, crossing: Crossing, evidence: Evidence) -> str | None:
        if crossing.missing < 0:
            return None
        return f"no more came to {crossing.receiver} than left {crossing.sender}"
