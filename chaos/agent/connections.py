"""Operation `connections`: the TCP connections of this node that have one port at either end."""

from __future__ import annotations

from chaos.agent import diag
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent


def run(agent: Agent, *, port: int) -> list[tuple[str, int, int]]:
    """[[state, source port, destination port], ...]; listeners are not connections."""
    with Netlink(diag.NETLINK_SOCK_DIAG) as netlink:
        found = [(it.state, it.sport, it.dport) for it in diag.sockets(netlink)]
    return [it for it in found if port in it[1:]]
