"""Operation `wire`: the relay that gives the path its round-trip time.

The router hands every forwarded packet to wire0; this child holds the far end (an AF_PACKET socket on wire1), waits
half a round trip and gives the frame back to wire0, from where the router forwards it to its destination. Delivery
through user space is not synchronous, so an ICMP answer finds the client's socket unlocked (net/ipv4/tcp_ipv4.c,
tcp_v4_err: a socket that is owned by the user only keeps a soft error).
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque

from chaos.agent import kernel
from chaos.agent.serve import Agent, Pipe

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
BATCH = 64


def run(agent: Agent, *, delay: float, interface: str) -> int:
    """Start the relay with this one-way delay in seconds on the wire's far end; returns the child's number.

    Told {"drain": n} it answers {"drained": [n, frames]} once everything that it holds now has been delivered: `frames`
    have come in since its start.
    """
    return agent.thread(lambda pipe: Wire(delay, interface, pipe).relay())


class Wire:
    """A queue of frames, each with the time at which it is due."""

    def __init__(self, delay: float, interface: str, pipe: Pipe) -> None:
        kernel.prctl(kernel.PR_SET_TIMERSLACK, 1000)
        self._delay, self._pipe = delay, pipe
        self._queue: deque[tuple[float, bytes]] = deque()
        self._waiting: list[tuple[float, int]] = []
        self._passed = 0
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._socket.bind((interface, ETH_P_ALL))
        pipe.write({"ready": True})

    def relay(self) -> None:
        """Run until the agent hangs up."""
        descriptors = [self._socket.fileno(), self._pipe.reader]
        while True:
            timeout = max(0.0, self._queue[0][0] - time.monotonic()) if self._queue else None
            readable, _, _ = select.select(descriptors, [], [], timeout)
            if self._socket.fileno() in readable:
                self._receive()
            self._deliver()
            if self._pipe.reader in readable:
                self._waiting.append((time.monotonic(), self._pipe.next()["drain"]))
            self._report()

    def _receive(self) -> None:
        for _ in range(BATCH):
            try:
                frame, address = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                return
            if address[2] != PACKET_OUTGOING:
                self._passed += 1
                self._queue.append((time.monotonic() + self._delay, frame))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._queue and self._queue[0][0] <= now:
            self._socket.send(self._queue.popleft()[1])

    def _report(self) -> None:
        while self._waiting and not (self._queue and self._queue[0][0] - self._delay <= self._waiting[0][0]):
            self._pipe.write({"drained": [self._waiting.pop(0)[1], self._passed]})
