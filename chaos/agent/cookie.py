"""Operation `cookie`: the number by which the kernel names this network namespace; none is ever given twice."""

from __future__ import annotations

import socket
import sys

from chaos.agent.serve import Agent

SO_NETNS_COOKIE = 71


def run(agent: Agent) -> int:
    """The cookie of socket(7)'s SO_NETNS_COOKIE, Linux 5.14; raises OSError on an older kernel."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
