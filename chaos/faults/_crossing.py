"""What of a fault's segments left one end of the wire and came to the other, by the captures at both ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaos.conversation import names
from chaos.evidence import Evidence
from chaos.faults._rules import BACK, FORTH, Selection, directions
from chaos.model import Setting
from chaos.packets import Packet


@dataclass(frozen=True)
class Crossing:
    """One direction: the fault's segments as one end sent them and as the other received them, in order of time."""

    sender: str
    receiver: str
    left: tuple[Packet, ...]
    came: tuple[Packet, ...]

    @property
    def missing(self) -> int:
        """How much of what left did not come; below 0, how much came more than once. A segment weighs its bytes.

        By bytes, because one packet at the sender may be several on the wire (segmentation offload).
        """
        return _weight(self.left) - _weight(self.came)

    def lags(self) -> list[float]:
        """Seconds that each segment took: one that came is the latest of the same numbers that was on its way."""
        waiting: list[Packet] = []
        found, left = [], list(self.left)
        for packet in self.came:
            while left and left[0].time_ns <= packet.time_ns:
                waiting.append(left.pop(0))
            same = [index for index, sent in enumerate(waiting) if may_be(sent, packet)]
            if same:
                found.append((packet.time_ns - waiting.pop(same[-1]).time_ns) / 1e9)
        return found


def crossings(evidence: Evidence, chosen: Selection, setting: Setting) -> Iterator[Crossing]:
    """Both directions in which the fault's segments go."""
    ends = {FORTH: (chosen.dialler(setting), chosen.end(setting))}
    ends[BACK] = ends[FORTH][::-1]
    for way, (sender, receiver) in ends.items():
        if chosen.from_ in (None, sender) and chosen.to in (None, receiver):
            left, came = (_of(evidence.attempt.get(node, ()), chosen, setting, way) for node in (sender, receiver))
            yield Crossing(
                sender,
                receiver,
                tuple(packet for packet in left if packet.outgoing),
                tuple(packet for packet in came if not packet.outgoing),
            )


def _of(packets: Sequence[Packet], chosen: Selection, setting: Setting, way: str) -> Iterator[Packet]:
    port, kinds = chosen.goal_port(setting), {kind for kind in chosen.segments if way in directions(kind)}
    for packet in packets:
        there = packet.protocol == "tcp" and port == (packet.dport if way == FORTH else packet.sport)
        if there and kinds & (names(packet) | {"any"}):
            yield packet


def _weight(packets: Sequence[Packet]) -> int:
    return sum(max(1, packet.length) for packet in packets)


def may_be(sent: Packet, came: Packet) -> bool:
    """Whether one may be the other: the same kind, and its bytes among those that were sent at once."""
    if (sent.sport, sent.dport, names(sent)) != (came.sport, came.dport, names(came)):
        return False
    offset = (came.seq - sent.seq) % 2**32
    return offset + came.length <= sent.length if sent.length else offset == 0
