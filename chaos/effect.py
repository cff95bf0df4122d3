"""What a fault does to an attempt, as data: from it `explain` tells the story and `predict` its end.

Segments are written as on the wire: `> syn` on its way to the target, `< syn-ack` on its way back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from chaos.model import Phase

Peer = Literal["never-accept", "silent", "close", "abort", "forget", "vanish", "crossing"]

WORDS = {"syn": "SYN", "syn-ack": "SYN-ACK", "ack": "bare ACK", "data": "data", "fin": "FIN", "rst": "RST"}


@dataclass(frozen=True)
class Effect:
    """One fault's doing.

    says: a sentence. at: the node where it acts.
    meets: the segments that get no further than `at`; answer: what their sender is told: `rst`, `icmp:3/1`, or nothing.
    slows, by: the segments that arrive, by so many seconds later; rate: and by their length, at so many bytes a second.
    nth: which of them, counted from 1, first and last (None: all that follow); larger: only packets of more bytes.
    mtu: the answer tells this path MTU, to which the sender's TCP then keeps.
    broken: what it takes out still arrives at the other end, whose TCP throws it away.
    errno: what connect() returns at the client itself, with nothing sent; in the phase `resolve`, what getaddrinfo()
        does.
    delay: seconds until the answer or the errno; in the phase `resolve` without an errno, until there is an address.
    alternative: the target's name has another address, which is healthy.
    peer, after: what our listener does to an established connection, and when (`accept`, `data`, or bytes).
    behind: it acts on the connection that a Toxiproxy makes, and not on the client's (relayed.py).
    phase: where `errno` ends the attempt.
    adds: a segment that it puts into the conversation, ending nothing, after what `after` says (or `syn`).
    """

    says: str
    at: str
    meets: tuple[str, ...] = ()
    answer: str | None = None
    slows: tuple[str, ...] = ()
    by: float = 0.0
    rate: int | None = None
    nth: tuple[int, int | None] = (1, None)
    larger: int = 0
    mtu: int = 0
    broken: bool = False
    errno: str | None = None
    phase: Phase = "connect"
    delay: float = 0.0
    peer: Peer | None = None
    after: str | int = "accept"
    behind: bool = False
    adds: str | None = None
    alternative: bool = False

    def takes(self, segment: str, number: int = 1) -> bool:
        """Whether the `number`-th segment of this kind gets no further."""
        return segment in self.meets and self.covers(number)

    def covers(self, number: int) -> bool:
        """Whether it acts on the segment of this number."""
        first, last = self.nth
        return first <= number and (last is None or number <= last)


def spoken(meets: Iterable[str]) -> str:
    """Segments in words: `SYN to the target and SYN-ACK from it`."""
    ways: dict[str, list[str]] = {}
    for each in meets:
        ways.setdefault(each[0], []).append(WORDS[each[2:]])
    told = [
        f"{', '.join(ways[way])} {where}"
        for way, where in ((">", "to the target"), ("<", "from the target"))
        if way in ways
    ]
    return " and ".join(told) or "nothing of this path"
