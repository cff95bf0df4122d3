"""Operation `half_open`: SYNs in another host's name, whose handshakes nobody completes (RFC 4987, 2.1)."""

from __future__ import annotations

import socket

from chaos.agent import diag, forge
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent

FIRST_PORT = 1024


def run(agent: Agent, *, address: str, port: int, source: str, count: int) -> int:
    """Send `count` SYNs from ports of `source` to a listener of this node, over its loopback device.

    `source` must be routed from here, and silent: a SYN-ACK without a way is dropped with its request. Returns how many
    handshakes the listener has half open then (SYN_RECV).
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:  # raw(7): the header is ours
        for number in range(count):
            syn = forge.packet((source, FIRST_PORT + number), (address, port), flags=forge.SYN, seq=number)
            raw.sendto(syn, (address, 0))
    with Netlink(diag.NETLINK_SOCK_DIAG) as netlink:
        return sum(found.sport == port and found.state == "SYN_RECV" for found in diag.sockets(netlink))
