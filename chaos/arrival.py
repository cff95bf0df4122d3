"""When the client has its SYN-ACK, however many segments were lost or late on the way.

The SYNs leave by the client's schedule; the server answers each that arrives, and repeats its answer by a timer of its
own that doubles from 1 s (net/ipv4/inet_connection_sock.c, reqsk_timer_handler), whatever tcp_syn_linear_timeouts says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaos.effect import Effect
from chaos.schedule import Schedule

HANDSHAKE = 60
"""Bytes of a SYN or a SYN-ACK with its options: an effect on larger packets does not meet it."""
SYN_ACK_TIMER = (1.0, 3.0, 7.0, 15.0, 31.0)
"""Seconds after the first SYN-ACK at which it is sent again (tcp_synack_retries=5)."""

TICKS = 0.008
"""Seconds within which the timers of both ends may fire in either order: two ticks of 250 a second."""


@dataclass(frozen=True)
class Arrival:
    """The handshake: `at` is when the client has a SYN-ACK, in seconds, or None; `lines` what it has sent and heard."""

    at: float | None
    lines: tuple[str, ...]


class Handshake:
    """One handshake under effects. `path` are the nodes from the client to the target."""

    def __init__(self, effects: Sequence[Effect], path: Sequence[str], schedule: Schedule, rtt: float) -> None:
        self._effects = [effect for effect in effects if not effect.behind]
        self._path, self._schedule, self._rtt = path, schedule, rtt

    def taker(self, segment: str, number: int = 1) -> Effect | None:
        """The first effect on its way that takes the segment of this number out."""
        path = self._path if segment[0] == ">" else self._path[::-1]
        found = (effect for node in path for effect in self._effects if effect.at == node)
        return next((it for it in found if it.takes(segment, number) and it.larger < HANDSHAKE), None)

    def _arrives(self, segment: str, number: int, left: float) -> float | None:
        """When it is at the other end; None when it does not get there."""
        if self.taker(segment, number) is not None:
            return None
        slow = [it.by for it in self._effects if segment in it.slows and it.covers(number) and it.larger < HANDSHAKE]
        return left + self._rtt / 2 + sum(slow)

    def arrival(self) -> Arrival:
        """The earliest SYN-ACK that comes before the kernel gives up."""
        sends = self._schedule.sends
        heard = sorted(
            at for number, sent in enumerate(sends, 1) if (at := self._arrives("> syn", number, sent)) is not None
        )
        first = heard[:1]
        answers = sorted(heard + [at + later for at in first for later in SYN_ACK_TIMER])
        came = [
            at for number, sent in enumerate(answers, 1) if (at := self._arrives("< syn-ack", number, sent)) is not None
        ]
        at = min(came, default=self._schedule.gives_up)
        ends = min(at, self._schedule.gives_up)
        return Arrival(at if at < self._schedule.gives_up else None, self._lines(ends))

    def _lines(self, ends: float) -> tuple[str, ...]:
        """The SYNs until then, each with its answer where one is told; one that races the end may be sent or not."""
        lines: list[str] = []
        for number, sent in enumerate(self._schedule.sends, 1):
            if number == 1 or sent < ends:
                met = self.taker("> syn", number)
                answer = [f"< {met.answer}"] if met and met.answer else []
                races = number > 1 and ends - sent < TICKS and not answer
                lines += ["> syn x0..1"] if races else ["> syn", *answer]
        return tuple(lines)
