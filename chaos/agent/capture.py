"""Operation `capture`: every frame at one interface, with the kernel's own timestamps, and none lost unseen.

An AF_PACKET socket per node, opened once, read by the agent's loop. A frame is queued to the socket before the
network stack itself sees it (receive) or right when it is handed to the driver (send), so what a client has noticed
has been captured. What the kernel had to drop is counted (PACKET_STATISTICS) and makes a run INVALID. See packet(7).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import Any

from chaos.agent.serve import Agent, encode

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_TIMESTAMPNS = 35
SNAP = 1 << 16
ROOM = 8 << 20
"""Bytes that may wait for us, if the kernel grants as many (net.core.rmem_max)."""
STAMP = struct.Struct("=qq")
MEMBERSHIPS = bytes.fromhex("333300000016")
"""Where a new address's MLDv2 reports go (RFC 3810), which come when they like and concern nobody here."""


class Capture:
    """The socket, and the frames so far: (time in ns of CLOCK_REALTIME, outgoing, data)."""

    def __init__(self, agent: Agent, interface: str) -> None:
        self._agent = agent
        self.frames: list[tuple[int, bool, bytes]] = []
        self.counted, self.lost = 0, 0
        """Frames so far, but for reports of memberships; those that the kernel had no room for."""
        self.kept = True
        self.heard: Callable[[], None] | None = None
        self.socket = opened(interface)
        agent.watch(self.socket.fileno(), self.drain)

    def close(self) -> None:
        """Capture no more."""
        self._agent.unwatch(self.socket.fileno())
        self.socket.close()

    def drain(self) -> None:
        """Take what the kernel has queued, and tell whoever wants to know that there was something."""
        known = len(self.frames)
        self._take()
        if self.heard is not None and len(self.frames) > known:
            self.heard()

    def _take(self) -> None:
        while True:
            try:
                data, ancillary, _, address = self.socket.recvmsg(SNAP, 64)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENETDOWN:
                    continue  # told once when the link goes down; the socket goes on when it is up again
                raise
            self.counted += not data.startswith(MEMBERSHIPS)
            seconds, nanoseconds = STAMP.unpack_from(ancillary[0][2])
            if self.kept:
                self.frames.append((seconds * 1_000_000_000 + nanoseconds, address[2] == PACKET_OUTGOING, data))

    def statistics(self) -> int:
        """Frames lost so far."""
        self.lost += dropped(self.socket)
        return self.lost


def opened(interface: str) -> socket.socket:
    """A packet(7) socket that hears all of this interface, stamped by the kernel (STAMP); it never blocks."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
    sock.bind((interface, ETH_P_ALL))
    return sock


def dropped(sock: socket.socket) -> int:
    """Frames that the kernel had no room for since this was asked last (packet(7), PACKET_STATISTICS)."""
    _, drops = struct.unpack("=II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    return int(drops)


def run(agent: Agent, *, do: str, interface: str = "eth0", since: int = 0) -> dict[str, Any] | None:
    """`start` opens it; `read` returns {"frames": [[time_ns, outgoing, base64], ...] from number `since`, "lost"}.

    `discard` keeps nothing from now on, for a lab that stays.
    """
    if do == "start":
        agent.state["capture"] = Capture(agent, interface)
        return None
    capture = agent.state["capture"]
    if do == "discard":
        capture.kept, capture.frames = False, []
        return None
    capture.drain()
    frames = [[time_ns, outgoing, encode(data)] for time_ns, outgoing, data in capture.frames[since:]]
    return {"frames": frames, "lost": capture.statistics()}
