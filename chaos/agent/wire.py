"""Operation `wire`: the relay that gives the path its round-trip time, and what may befall a segment on its way.

The router hands every forwarded packet to wire0; its agent holds the far end (an AF_PACKET socket on wire1), waits half
a round trip and gives the frame back to wire0, from where the router forwards it to its destination. Delivery
through user space is not synchronous, so an ICMP answer finds the client's socket unlocked (net/ipv4/tcp_ipv4.c,
tcp_v4_err: a socket that is owned by the user only keeps a soft error).

Rules (rules.py) are armed and withdrawn while it runs. A segment meets them when it comes in; what comes of it leaves
half a round trip later, an ICMP error too, or later still. While there is no rule, no frame is looked at.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from chaos.agent import kernel
from chaos.agent.capture import PACKET_OUTGOING, SNAP, STAMP, dropped, opened
from chaos.agent.rules import Rules
from chaos.agent.serve import Agent

BATCH = 64
LOOK, LONGEST = 0.0002, 0.1
"""Seconds between two looks at whether the kernel has passed on what was sent, and until it has for certain: what waits
later belongs to somebody else."""


def run(
    agent: Agent,
    *,
    do: str,
    delay: float = 0.0,
    interface: str = "",
    rule: Mapping[str, Any] | None = None,
    number: int = 0,
) -> int | None:
    """`start` the relay with this one-way delay in seconds on the wire's far end; the others ask that one.

    `drain` is done once everything that it holds now has been delivered; what a rule has made late is not waited for.
    `lost` returns how many frames the kernel had no room for. `arm` a rule (rules.py); `count` returns the segments
    that the one of this number has acted on; `withdraw` it, and throw away what it holds.
    """
    if do == "start":
        agent.state["wire"] = Wire(agent, delay, interface)
        return None
    wire: Wire = agent.state["wire"]
    if do == "drain":
        wire.drain()
    elif do == "arm":
        wire.rules.arm(rule or {})
    elif do == "withdraw":
        wire.withdraw(number)
    elif do == "lost":
        return wire.lost()
    return wire.rules.count(number) if do == "count" else None


class Wire:
    """A queue of frames, each with the time at which it is due, and beside it those that a rule has made late."""

    def __init__(self, agent: Agent, delay: float, interface: str) -> None:
        self._agent, self._delay = agent, delay
        self._queue: deque[tuple[float, bytes]] = deque()
        self._late: list[tuple[float, int, int, bytes]] = []  # a heap: due, serial, rule, frame
        self._serial = itertools.count()
        self.rules = Rules()
        self._lost = 0
        self._behind = False
        self._drained: tuple[float, Callable[[Callable[[], None]], None]] | None = None
        self._socket = opened(interface)
        agent.watch(self._socket.fileno(), self._come)

    def close(self) -> None:
        """Relay no more."""
        self._agent.unwatch(self._socket.fileno())
        self._agent.alarm(self._go, None)
        self._socket.close()

    def drain(self) -> None:
        """The operation, which may take its time."""
        self._come()
        asked = time.monotonic()
        if not self._is_empty_since(asked):
            self._drained = asked, self._agent.later()
            self._wake()

    def lost(self) -> int:
        """Frames lost so far, which no rule and no firewall has dropped."""
        self._lost += dropped(self._socket)
        return self._lost

    def withdraw(self, number: int) -> None:
        """Put a rule out of force, and throw away what it holds."""
        self.rules.withdraw(number)
        self._late = [held for held in self._late if held[2] != number]
        heapq.heapify(self._late)

    def _come(self) -> None:
        """Take what has come."""
        self._receive()
        self._go()

    def _go(self) -> None:
        """Send what is due, and be woken for the rest."""
        self._deliver()
        if self._drained is not None:
            asked, finish = self._drained
            if self._is_empty_since(asked):
                self._drained = None
                finish(lambda: None)
        self._wake()

    def _wake(self) -> None:
        now = time.monotonic()
        due = [held[0][0] for held in (self._queue, self._late) if held]
        if self._drained is not None and not self._queue:
            due.append(now + LOOK)
        self._agent.alarm(self._go, max(0.0, min(due) - now) if due else None)

    def _is_empty_since(self, asked: float) -> bool:
        """Whether what was on the wire then has arrived: what is sent waits for its receiver's kernel, too."""
        if self._behind or (self._queue and self._queue[0][0] - self._delay <= asked):
            return False
        return not kernel.packets_waiting() or time.monotonic() > asked + self._delay + LONGEST

    def _receive(self) -> None:
        """So many at most; we are `_behind` when there may be more, for which the loop calls again."""
        self._behind = True
        for _ in range(BATCH):
            try:
                frame, ancillary, _, address = self._socket.recvmsg(SNAP, 64)
            except BlockingIOError:
                self._behind = False
                return
            if address[2] == PACKET_OUTGOING:
                continue
            came = time.monotonic() - self._age(ancillary[0][2])
            if self.rules:
                self._judge(frame, came)
            else:
                self._queue.append((came + self._delay, frame))

    def _age(self, stamp: bytes) -> float:
        """Seconds since the kernel had the frame: how late this process woke up is no part of the path's time."""
        seconds, nanoseconds = STAMP.unpack_from(stamp)
        age: float = time.time() - seconds - nanoseconds * 1e-9
        return min(max(0.0, age), self._delay)  # whoever sets the clock

    def _judge(self, frame: bytes, came: float) -> None:
        due = came + self._delay
        for changed, late, owner in self.rules.passed(frame, came):
            if late:
                heapq.heappush(self._late, (due + late, next(self._serial), owner, changed))
            else:
                self._queue.append((due, changed))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._queue and self._queue[0][0] <= now:
            self._socket.send(self._queue.popleft()[1])
        while self._late and self._late[0][0] <= now:
            self._socket.send(heapq.heappop(self._late)[3])
