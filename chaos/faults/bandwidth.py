"""`bandwidth {rate, queue?, segment?, ...}`: a link that is narrow, with a queue before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from chaos.evidence import Evidence
from chaos.faults._crossing import Crossing
from chaos.faults._wire import OnTheWire
from chaos.fields import Positive, Segments

SLACK = 0.9
"""Of the time that the rate asks for: payload alone is weighed, and the first segment has no one to wait for."""
HEADERS = 40
"""Bytes of the shortest segment: what any of them takes at least."""


@dataclass(frozen=True, kw_only=True)
class Bandwidth(OnTheWire):
    """The path passes so many bytes a second each way, and queues so many; what finds the queue full vanishes.

    Wire: segments come at the pace of the rate; beyond the queue they do not come, and are retransmitted.
    By hand: `tc qdisc add dev wire0 root tbf rate 160kbit burst 1600 limit 65536`
    Linux: nothing but time, unless the client's own timer ends first.
    Imitates: a narrow uplink, a traffic shaper; with a long queue, bufferbloat.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    rate: Positive
    queue: Positive = 65536
    segment: Segments = ("any",)

    def _does(self, which: str) -> str:
        return f"passes {self.rate} bytes a second of {which}, each way, and queues {self.queue}"

    def _data(self, meets: tuple[str, ...]) -> Mapping[str, Any]:
        return {"slows": meets, "by": HEADERS / self.rate, "rate": self.rate}

    def _action(self) -> Mapping[str, Any]:
        return {"rate": self.rate, "queue": self.queue}

    def _doubt(self, crossing: Crossing, evidence: Evidence) -> str | None:
        """What came behind the first segment took its time; what has not come when the attempt ends was held."""
        if not crossing.came:
            return None
        first, *others = crossing.came
        took = (crossing.came[-1].time_ns - crossing.left[0].time_ns) / 1e9
        least = SLACK * (first.length + sum(packet.length + HEADERS for packet in others)) / self.rate
        if took >= least:
            return None
        return f"what came to {crossing.receiver} took {took * 1000:.1f} ms, which is less than {least * 1000:.1f} ms"
