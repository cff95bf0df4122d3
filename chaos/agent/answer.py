"""Operation `answer`: this host answers segments that come to it with ICMP errors, of whatever type and code.

The kernel's own firewall can send a few of them only (iptables REJECT). Here the segment is read beside the kernel, by
an AF_PACKET socket, and the error goes back where the frame came from. The segment itself is for a rule of the firewall
to keep from TCP.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from typing import Any

from chaos.agent.actions import action
from chaos.agent.rules import Match
from chaos.agent.segment import parse
from chaos.agent.serve import Agent, Pipe

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4


def run(agent: Agent, *, match: Mapping[str, Any], message: Mapping[str, Any], interface: str) -> int:
    """Start answering; returns the child's number. `match` as in rules.py, `message` is actions.py's `icmp`."""
    return agent.thread(lambda pipe: _answer(match, message, interface, pipe))


def _answer(said: Mapping[str, Any], message: Mapping[str, Any], interface: str, pipe: Pipe) -> None:
    match, answer = Match(said), action("icmp", **message)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, ETH_P_ALL))
        pipe.write({"ready": True})
        while pipe.reader not in select.select([sock.fileno(), pipe.reader], [], [])[0]:  # until it is hung up on
            frame, address = sock.recvfrom(1 << 16)
            segment = parse(frame) if address[2] != PACKET_OUTGOING else None
            if segment is not None and match.takes(segment):
                for turned, _ in answer.act(frame, segment, 0.0):
                    sock.send(turned)
