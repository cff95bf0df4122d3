"""`reorder {segment, nth?, ...}`: segments are overtaken by the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from chaos.evidence import Evidence
from chaos.faults._crossing import Crossing, may_be
from chaos.faults._wire import OnTheWire, bounds_of
from chaos.packets import Packet


@dataclass(frozen=True, kw_only=True)
class Reorder(OnTheWire):
    """Segments are overtaken by the next of their connection and direction; without `nth`, each pair is swapped.

    Wire: in another order at the receiver than at the sender; the receiver acknowledges what it misses once more.
    By hand: `tc qdisc add dev wire0 root netem delay 10ms reorder 50%` (by chance, and netem must be in the kernel).
    Linux: nothing that a program could see; a segment that nothing follows waits for its own retransmission.
    Imitates: several paths of unequal length, a link that is bundled of several.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    def _does(self, which: str) -> str:
        return f"holds {which} until the next segment behind it has passed"

    def _data(self, meets: tuple[str, ...]) -> Mapping[str, Any]:
        """Of a handshake's segments nothing follows but their retransmission: as if the first were lost."""
        first, _ = bounds_of(self.nth)
        return {"meets": meets, "nth": (first, first)}

    def _doubt(self, crossing: Crossing, evidence: Evidence) -> str | None:
        """Two that came in another order than they left; what is still held when the attempt ends is no reordering."""
        order = [place for packet in crossing.came if (place := _place(packet, crossing.left)) is not None]
        if any(after < before for before, after in pairwise(order)):
            return None
        return f"what came to {crossing.receiver} came in the order in which it left {crossing.sender}"


def _place(came: Packet, left: tuple[Packet, ...]) -> tuple[int, int] | None:
    """Where a segment stood among those that were sent until it came: which one, and where in its bytes."""
    for number in reversed(range(len(left))):
        sent = left[number]
        if sent.time_ns <= came.time_ns and may_be(sent, came):
            return number, (came.seq - sent.seq) % 2**32
    return None
