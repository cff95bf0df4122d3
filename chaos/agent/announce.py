"""Operation `announce`: an ARP announcement, as a host sends when it takes an address (RFC 5227, 1.1; RFC 826)."""

from __future__ import annotations

import socket
import struct

from chaos.agent.serve import Agent

ETH_P_ARP, REQUEST = 0x0806, 1
BROADCAST = b"\xff" * 6


def run(agent: Agent, *, address: str, interface: str = "eth0") -> None:
    """Tell everybody on the link that `address` is at this interface: a request for it, from it.

    Linux overwrites a known neighbour with it at once (net/ipv4/arp.c, arp_is_garp()).
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, ETH_P_ARP))
        mac, raw = sock.getsockname()[4], socket.inet_aton(address)
        ethernet = BROADCAST + mac + struct.pack("!H", ETH_P_ARP)
        sock.send(ethernet + struct.pack("!HHBBH", 1, 0x0800, 6, 4, REQUEST) + mac + raw + bytes(6) + raw)
