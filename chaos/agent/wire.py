"""Operation `wire`: the relay that gives the path its round-trip time, and what may befall a segment on its way.

The router hands every forwarded packet to wire0; this child holds the far end (an AF_PACKET socket on wire1), waits
half a round trip and gives the frame back to wire0, from where the router forwards it to its destination. Delivery
through user space is not synchronous, so an ICMP answer finds the client's socket unlocked (net/ipv4/tcp_ipv4.c,
tcp_v4_err: a socket that is owned by the user only keeps a soft error).

Rules (rules.py) are armed and withdrawn while it runs. A segment meets them when it comes in; what comes of it leaves
half a round trip later, an ICMP error too, or later still. While there is no rule, no frame is looked at.
"""

from __future__ import annotations

import heapq
import itertools
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from chaos.agent import kernel
from chaos.agent.rules import Rules
from chaos.agent.serve import Agent, Pipe

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
BATCH = 64
SO_TIMESTAMPNS = 35
STAMP = struct.Struct("=qq")


def run(agent: Agent, *, delay: float, interface: str) -> int:
    """Start the relay with this one-way delay in seconds on the wire's far end; returns the child's number.

    Told {"drain": n} it answers {"drained": n} once everything that it holds now has been delivered; what a rule has
    made late is not waited for. Told {"arm": RULE} it answers {"armed": number}; of that {"count": number}, {"counted":
    segments}; {"withdraw": RULE}, {"withdrawn": number}: what that rule holds is thrown away.
    """
    return agent.thread(lambda pipe: Wire(delay, interface, pipe).relay())


class Wire:
    """A queue of frames, each with the time at which it is due, and beside it those that a rule has made late."""

    def __init__(self, delay: float, interface: str, pipe: Pipe) -> None:
        kernel.prctl(kernel.PR_SET_TIMERSLACK, 1000)
        self._delay, self._pipe = delay, pipe
        self._queue: deque[tuple[float, bytes]] = deque()
        self._late: list[tuple[float, int, int, bytes]] = []  # a heap: due, serial, rule, frame
        self._serial = itertools.count()
        self._rules = Rules()
        self._waiting: list[tuple[float, int]] = []
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.bind((interface, ETH_P_ALL))
        pipe.write({"ready": True})

    def relay(self) -> None:
        """Run until the agent hangs up (SystemExit, which ends this thread alone)."""
        descriptors = [self._socket.fileno(), self._pipe.reader]
        with self._socket:
            while True:
                readable, _, _ = select.select(descriptors, [], [], self._patience())
                if self._socket.fileno() in readable:
                    self._receive()
                self._deliver()
                if self._pipe.reader in readable:
                    self._listen()
                self._report()

    def _patience(self) -> float | None:
        """Seconds until the next frame is due."""
        due = [held[0][0] for held in (self._queue, self._late) if held]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _receive(self) -> None:
        for _ in range(BATCH):
            try:
                frame, ancillary, _, address = self._socket.recvmsg(1 << 16, 64)
            except BlockingIOError:
                return
            if address[2] == PACKET_OUTGOING:
                continue
            came = time.monotonic() - self._age(ancillary[0][2])
            if self._rules:
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
        for changed, late, owner in self._rules.passed(frame, came):
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

    def _listen(self) -> None:
        messages = self._pipe.read()
        if messages is None:
            sys.exit(0)
        for message in messages:
            self._obey(message)

    def _obey(self, message: Mapping[str, Any]) -> None:
        if "drain" in message:
            self._waiting.append((time.monotonic(), message["drain"]))
        elif "arm" in message:
            self._pipe.write({"armed": self._rules.arm(message["arm"])})
        elif "count" in message:
            self._pipe.write({"counted": self._rules.count(message["count"])})
        elif "withdraw" in message:
            number = message["withdraw"]["number"]
            self._rules.withdraw(number)
            self._late = [held for held in self._late if held[2] != number]
            heapq.heapify(self._late)
            self._pipe.write({"withdrawn": number})

    def _report(self) -> None:
        while self._waiting and not (self._queue and self._queue[0][0] - self._delay <= self._waiting[0][0]):
            self._pipe.write({"drained": self._waiting.pop(0)[1]})
