"""inet_diag(7): the kernel's TCP sockets of this namespace, read and destroyed through NETLINK_SOCK_DIAG.

Layouts: include/uapi/linux/inet_diag.h. State names are the kernel's (include/net/tcp_states.h).
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from chaos.agent.netlink import Netlink

NETLINK_SOCK_DIAG = 4
TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 18, 20, 21
PORTS, QUEUES = struct.Struct("!HH"), struct.Struct("=II")
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE = 19, 20, 2
SO_ATTACH_FILTER, BPF_RET = 26, 0x06

STATES = (
    "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
    "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "SYN_RECV",
)  # fmt: skip
LISTEN = 1 << 10
ALL = 0xFFF & ~1
CONNECTIONS = ALL & ~LISTEN | 1 << 12


@dataclass(frozen=True)
class Socket:
    """One socket. Of a listener `rqueue` is the accept queue's length and `wqueue` its limit (the backlog)."""

    family: int
    state: str
    sport: int
    dport: int
    rqueue: int
    wqueue: int
    identity: bytes


def sockets(netlink: Netlink, states: int = CONNECTIONS) -> Iterator[Socket]:
    """Every TCP socket of both families in one of these states (a bit mask, 1 << state).

    TCPDIAG_GETSOCK is the older of the two requests, and the one that both families answer at once
    (net/ipv4/inet_diag.c, inet_diag_dump_compat()).
    """
    for message in netlink.dump(TCPDIAG_GETSOCK, struct.pack("=BBBB48xII", socket.AF_INET, 0, 0, 0, states, 0)):
        sport, dport = PORTS.unpack_from(message, 4)
        rqueue, wqueue = QUEUES.unpack_from(message, 56)
        yield Socket(message[0], STATES[message[1]], sport, dport, rqueue, wqueue, message[4:52])


def destroy(netlink: Netlink, found: Socket) -> bool:
    """SOCK_DESTROY, as `ss -K`: the kernel ends the connection (with a RST where the peer may still hold it)."""
    request = struct.pack("=BBBBI", found.family, socket.IPPROTO_TCP, 0, 0, ALL) + found.identity
    try:
        netlink.request(SOCK_DESTROY, request, what="SOCK_DESTROY")
    except (FileNotFoundError, OSError):
        return False  # it ended by itself in between
    return True


def forget(sock: socket.socket) -> None:
    """Close a connection so that its peer learns nothing: no FIN, no RST (TCP_REPAIR, as in checkpoint/restore).

    shutdown(2) wakes a thread that is blocked in recv(2), which would keep the connection alive behind our close(2);
    with the send queue under repair its FIN is queued and never sent (net/ipv4/tcp_output.c, tcp_write_xmit).
    """
    with contextlib.suppress(OSError):  # never connected, or already dead: there is nothing to forget
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE)
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def deafen(sock: socket.socket) -> None:
    """Have the kernel drop every segment that comes for this connection, as if the host were gone (socket(7)).

    A classic BPF program that accepts nothing stands in front of the socket: TCP never sees the segment
    (net/ipv4/tcp_ipv4.c, tcp_filter), so nothing is acknowledged and nothing is reset.
    """
    program = ctypes.create_string_buffer(struct.pack("=HBBI", BPF_RET, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program)))
