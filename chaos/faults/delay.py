"""`delay {segment, by, nth?, ...}`: segments are late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from chaos.evidence import Evidence
from chaos.faults._crossing import Crossing
from chaos.faults._wire import OnTheWire
from chaos.fields import Duration


@dataclass(frozen=True, kw_only=True)
class Delay(OnTheWire):
    """Segments are late by a fixed time, and what comes behind them may overtake them (the wire holds them).

    Wire: the segment is seen at its sender, and at the other end not before that time has passed.
    By hand: `tc qdisc add dev wire0 root netem delay 1500ms` (every packet, and netem must be in the kernel).
    Linux: nothing but time, unless a timer ends first: the client's own, the SYN schedule, the retransmission's.
    Imitates: a congested or a long path; bufferbloat; a host that is slow to answer a SYN.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    by: Duration

    def _does(self, which: str) -> str:
        return f"holds {which} for {self.by * 1000:g} ms"

    def _data(self, meets: tuple[str, ...]) -> Mapping[str, Any]:
        return {"slows": meets, "by": self.by}

    def _action(self) -> Mapping[str, Any]:
        return {"by": self.by}

    def _doubt(self, crossing: Crossing, evidence: Evidence) -> str | None:
        """What has not come when the attempt ends was held."""
        longest = max(crossing.lags(), default=0.0)
        if longest >= self.by or len(crossing.came) < len(crossing.left):
            return None
        return f"none took longer than {longest * 1000:.1f} ms from {crossing.sender} to {crossing.receiver}"
