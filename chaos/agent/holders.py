"""Operation `holders`: connections that this node makes and holds: they take up ports, and places in a count."""

from __future__ import annotations

import contextlib
import socket

from chaos.agent import diag
from chaos.agent.serve import Agent, Pipe

TIMEOUT = 2.0
"""Seconds in which a healthy network makes a connection."""


def run(agent: Agent, *, address: str, port: int, count: int) -> int:
    """Make `count` connections and keep them; returns the child's number.

    Its first event is {"held": n}: how many were made. Told {"release": true} it closes them, unnoticed by the peer
    (no FIN, no RST), and answers {"released": n}.
    """
    return agent.fork(lambda pipe: hold(address, port, count, pipe))


def hold(address: str, port: int, count: int, pipe: Pipe) -> None:
    """Connect, say how far it came, and wait. Where one fails the next would: fewer are held."""
    held: list[socket.socket] = []
    with contextlib.suppress(OSError):
        while len(held) < count:
            held.append(socket.create_connection((address, port), TIMEOUT))
    pipe.write({"held": len(held)})
    while "release" not in pipe.next():
        pass
    for sock in held:
        diag.forget(sock)
    pipe.write({"released": len(held)})
