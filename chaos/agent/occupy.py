"""Operation `occupy`: another program of this node, which has bound a port and does nothing with it."""

from __future__ import annotations

from chaos.agent import endpoint
from chaos.agent.serve import Agent, Pipe


def run(agent: Agent, *, address: str, port: int, kind: str) -> int:
    """Start it; returns the child's number, whose first event is {"ready": true}. It goes when the child is ended."""

    def occupy(pipe: Pipe) -> None:
        sock = endpoint.bound(address, port, kind)
        if kind == "stream":
            sock.listen(1)
        pipe.write({"ready": True})
        while True:
            pipe.next()

    return agent.fork(occupy)
