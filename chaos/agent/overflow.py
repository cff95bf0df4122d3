"""Operation `overflow`: when a SYN comes, take the last place of the accept queue before its final ACK does."""

from __future__ import annotations

import socket

from chaos.agent import forge, tap
from chaos.agent.serve import Agent, Pipe


def run(agent: Agent, *, interface: str, address: str, port: int) -> int:
    """Make one connection to the listener as soon as a SYN for it arrives here; returns the child's number.

    Events: {"ready": true} once it hears, {"filled": true} when the connection is in the accept queue. The connection
    lasts as long as the child. The kernel hands a frame to a packet socket just before TCP sees it (packet(7)), and
    this connection takes a few system calls: the SYN has been accepted by then.
    """
    return agent.fork(lambda pipe: fill(interface, address, port, pipe))


def fill(interface: str, address: str, port: int, pipe: Pipe) -> None:
    """One connection, from inside."""
    with tap.listen(interface) as sock:
        pipe.write({"ready": True})
        next(seen for seen in tap.segments_to(sock, address, port, outgoing=False) if seen.flags & forge.SYN)
    with socket.create_connection((address, port)):
        pipe.write({"filled": True})
        pipe.next()  # until the agent ends us
