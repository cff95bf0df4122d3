"""When the kernel sends a SYN again, and when it gives up: the schedule of an unanswered connect().

Linux net/ipv4/tcp_timer.c: `tcp_retransmit_timer()` keeps the timeout as it is for the first
`tcp_syn_linear_timeouts` expiries and doubles it from then on, up to `tcp_rto_max_ms`; `tcp_write_timeout()` gives up
at the expiry that follows `tcp_syn_retries + tcp_syn_linear_timeouts` retransmissions. The first timeout is 1 s
(RFC 6298; TCP_TIMEOUT_INIT), unless a BPF program says otherwise.

A timer of the kernel never fires early, and late by at most an eighth of its interval (kernel/time/timer.c: the
granularity of the timer wheel's levels); the rest of a window is for the scheduler of a busy machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EARLY = 0.004
"""Seconds that a measured time may be short of the schedule: one jiffy at HZ=250, the rounding of two clocks."""

LATE_SHARE, LATE = 0.125, 0.050
"""A measured time may be late by this share of itself, and by this many seconds."""


def window(due: float) -> tuple[float, float]:
    """The earliest and the latest second at which something due at this one may happen."""
    return max(0.0, due - EARLY), due * (1 + LATE_SHARE) + LATE


@dataclass(frozen=True)
class Schedule:
    """An unanswered connect(), in seconds from its first SYN: when each SYN leaves, and when it returns ETIMEDOUT."""

    sends: tuple[float, ...]
    gives_up: float

    @property
    def window(self) -> tuple[float, float]:
        """The earliest and the latest second at which connect() may give up."""
        return window(self.gives_up)

    def mismatches(self, sent: Sequence[float]) -> list[str]:
        """What is wrong with SYNs sent at these seconds, as `expected X, got Y`; empty when nothing is."""
        found = []
        if len(sent) != len(self.sends):
            found.append(f"expected {len(self.sends)} SYNs, got {len(sent)}")
        for number, (due, at) in enumerate(zip(self.sends, sent, strict=False), 1):
            low, high = window(due)
            if not low <= at <= high:
                found.append(f"expected SYN {number} at {low:.3f}s..{high:.3f}s, got {at:.3f}s")
        return found


def syn_schedule(retries: int, linear_timeouts: int = 0, rto_max: float = 120.0, rto: float = 1.0) -> Schedule:
    """The schedule of these settings; times in seconds, `rto` is the first retransmission timeout."""
    now, sends, timeout = 0.0, [0.0], rto
    for expiry in range(1, retries + linear_timeouts + 1):
        now += timeout
        sends.append(now)
        if expiry > linear_timeouts:
            timeout = min(timeout * 2, rto_max)
    return Schedule(tuple(sends), now + timeout)


def from_sysctls(values: Mapping[str, int | str], rto: float = 1.0) -> Schedule:
    """The schedule in force, from net.ipv4's `tcp_syn_retries`, `tcp_syn_linear_timeouts` and `tcp_rto_max_ms`.

    A kernel without the last two (before 6.5 and 6.15) doubles from the start, up to 120 s.
    Raises KeyError without `tcp_syn_retries`.
    """
    named = {name.removeprefix("net.ipv4."): int(value) for name, value in values.items()}
    rto_max = named.get("tcp_rto_max_ms", 120_000) / 1000
    return syn_schedule(named["tcp_syn_retries"], named.get("tcp_syn_linear_timeouts", 0), rto_max, rto)
