"""When the kernel sends a SYN again, and when it gives up: the schedule of an unanswered connect().

Linux net/ipv4/tcp_timer.c: `tcp_retransmit_timer()` keeps the timeout as it is for the first
`tcp_syn_linear_timeouts` expiries and doubles it from then on, up to `tcp_rto_max_ms`; `tcp_write_timeout()` gives up
at the expiry that follows `tcp_syn_retries + tcp_syn_linear_timeouts` retransmissions. The first timeout is 1 s
(RFC 6298; TCP_TIMEOUT_INIT), unless a BPF program says otherwise.

A timer of the kernel never fires early by the kernel's count of ticks, and late by at most an eighth of its interval
(kernel/time/timer.c: the granularity of the timer wheel's levels); the rest of a window is for the scheduler of a busy
machine. By the real clock it may be early: the count stands still while the processor that keeps it is taken away from
a virtual machine, and then catches up (kernel/time/tick-sched.c, tick_do_update_jiffies64()). That is of the first SYN
alone, whose timer a process sets; those of the others are set by the tick that has just been counted.

Compressed (backends/compressed.py), the schedule is the same in another unit than a second. Its intervals are so short
that the tick shows: one of n jiffies lasts n + 1, and a virtual machine that was paused makes up for the ticks it
missed. So each interval is held against its own multiple of the unit, which is the shape of the schedule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chaos.model import Timing

EARLY = 0.004
"""Seconds that a measured time may be short of the schedule: one jiffy at HZ=250, the rounding of two clocks."""

STALE = 0.020
"""Seconds by which the count of ticks may be behind at the first SYN: twice the most that was seen in 60,000 runs."""

LATE_SHARE, LATE = 0.125, 0.050
"""A measured time may be late by this share of itself, and by this many seconds."""

TICKS = 2
"""Of a compressed interval, and late by as many jiffies: its rounding up, and the place in a tick where it began."""

BUSY = 0.4
"""Seconds that a client may return late from a compressed connect(): what an eighth of 3 s leaves to a `short` one."""

GIVES_UP: Final[Mapping[Timing, float]] = {"short": 3.0, "compressed": 3.0, "real": 131.0, "doubling": 127.0}
"""Seconds until an unanswered connect() returns, at most, by the setting's timing."""


@dataclass(frozen=True)
class Unit:
    """What a schedule counts in: the first retransmission timeout; and the kernel's clock tick. Both in seconds."""

    rto: float = 1.0
    jiffy: float = 0.004

    @property
    def compressed(self) -> bool:
        """Whether the first timeout is another than the kernel's own."""
        return self.rto != SECOND.rto

    @property
    def scale(self) -> float:
        """How many times faster than the kernel's own schedule."""
        return SECOND.rto / self.rto


SECOND = Unit()


def window(due: float) -> tuple[float, float]:
    """The earliest and the latest second at which something due at this one may happen."""
    return max(0.0, due - EARLY), due * (1 + LATE_SHARE) + LATE


def from_first_syn(due: float) -> tuple[float, float]:
    """The same for what is due so long after the first SYN."""
    low, high = window(due)
    return max(0.0, low - STALE), high


@dataclass(frozen=True)
class Schedule:
    """An unanswered connect(), in seconds from its first SYN: when each SYN leaves, and when it returns ETIMEDOUT."""

    sends: tuple[float, ...]
    gives_up: float
    unit: Unit = SECOND

    @property
    def window(self) -> tuple[float, float]:
        """The earliest and the latest second at which connect() may give up."""
        low, high = from_first_syn(self.gives_up)
        return low, high + (BUSY if self.unit.compressed else 0.0)

    def mismatches(self, sent: Sequence[float]) -> list[str]:
        """What is wrong with SYNs sent at these seconds, as `expected X, got Y`; empty when nothing is."""
        found = []
        if len(sent) != len(self.sends):
            found.append(f"expected {len(self.sends)} SYNs, got {len(sent)}")
        return found + (self._out_of_shape(sent) if self.unit.compressed else self._out_of_time(sent))

    def intervals(self) -> list[tuple[float, float, float]]:
        """Between each SYN and the next: how many units, and the seconds that it lasts at least and at most.

        This is what the kernel's timers do. A verdict allows LATE more, and a jiffy less; the first may be STALE.
        """
        rto, late = self.unit.rto, TICKS * self.unit.jiffy
        gaps = [after - before for before, after in pairwise(self.sends)]
        return [(round(gap / rto, 6), gap, gap * (1 + LATE_SHARE) + late) for gap in gaps]

    def _out_of_shape(self, sent: Sequence[float]) -> list[str]:
        found = []
        steps = zip(self.intervals(), pairwise(sent), strict=False)
        for number, ((units, least, most), (before, after)) in enumerate(steps, 1):
            stale = STALE if number == 1 else 0.0
            low, high, got = max(0.0, least - self.unit.jiffy - stale), most + LATE, after - before
            if not low <= got <= high:
                wanted = f"{units:g} units ({low * 1000:.1f}..{high * 1000:.1f} ms) after SYN {number}"
                found.append(f"expected SYN {number + 1} {wanted}, got {got * 1000:.1f} ms")
        return found

    def _out_of_time(self, sent: Sequence[float]) -> list[str]:
        found = []
        for number, (due, at) in enumerate(zip(self.sends, sent, strict=False), 1):
            low, high = from_first_syn(due)
            if not low <= at <= high:
                found.append(f"expected SYN {number} at {low:.3f}s..{high:.3f}s, got {at:.3f}s")
        return found


def syn_schedule(retries: int, linear_timeouts: int = 0, rto_max: float = 120.0, unit: Unit = SECOND) -> Schedule:
    """The schedule of these settings; `rto_max` in seconds."""
    now, sends, timeout = 0.0, [0.0], unit.rto
    for expiry in range(1, retries + linear_timeouts + 1):
        now += timeout
        sends.append(now)
        if expiry > linear_timeouts:
            timeout = min(timeout * 2, rto_max)
    return Schedule(tuple(sends), now + timeout, unit)


def from_sysctls(values: Mapping[str, int | str], unit: Unit = SECOND) -> Schedule:
    """The schedule in force, from net.ipv4's `tcp_syn_retries`, `tcp_syn_linear_timeouts` and `tcp_rto_max_ms`.

    A kernel without the last two (before 6.5 and 6.15) doubles from the start, up to 120 s.
    Raises KeyError without `tcp_syn_retries`.
    """
    named = {name.removeprefix("net.ipv4."): int(value) for name, value in values.items()}
    rto_max = named.get("tcp_rto_max_ms", 120_000) / 1000
    return syn_schedule(named["tcp_syn_retries"], named.get("tcp_syn_linear_timeouts", 0), rto_max, unit)
