"""Operation `queue`: the accept queue of a listener, as the kernel holds it."""

from __future__ import annotations

from chaos.agent import diag
from chaos.agent.netlink import Netlink
from chaos.agent.pathname import owners
from chaos.agent.serve import Agent


def run(agent: Agent, *, port: int, path: str | None = None) -> dict[str, int] | None:
    """{"accept": connections that wait (Recv-Q), "backlog": the limit (Send-Q)}; None when nobody listens there.

    `path` is a UNIX socket's, which has no port.
    """
    if path is not None:
        listening = [owner for owner in owners(path) if owner["listening"]]
        return {name: listening[0][name] for name in ("accept", "backlog")} if listening else None
    with Netlink(diag.NETLINK_SOCK_DIAG) as netlink:
        for found in diag.sockets(netlink, diag.LISTEN):
            if found.sport == port:
                return {"accept": found.rqueue, "backlog": found.wqueue}
    return None
