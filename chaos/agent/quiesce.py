"""Operation `quiesce`: forget what one leg of a run could leave behind for the next."""

from __future__ import annotations

import os

from chaos.agent import diag
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent

ROUTES_OF_IPV4 = "/proc/sys/net/ipv4/route/flush"


def run(agent: Agent) -> int:
    """Have clients and servers close what they hold, silently; destroy every connection that is left (TIME_WAIT and
    SYN_RECV too), flush neighbours and route exceptions.

    Returns how many were destroyed and flushed. Learnt TCP metrics are never kept: the lab sets
    net.ipv4.tcp_no_metrics_save.
    """
    agent.release()
    agent.forget_connections()
    memory = agent.state.get("memory")
    if memory is None:
        memory = agent.state["memory"] = Memory()
    return int(memory.forget())


class Memory:
    """What this node's kernel remembers of a leg, by sockets that stay open: it is asked a dozen times in a run."""

    def __init__(self) -> None:
        self._sockets, self._routes = Netlink(diag.NETLINK_SOCK_DIAG), Netlink()
        self._flush = os.open(ROUTES_OF_IPV4, os.O_WRONLY)

    def forget(self) -> int:
        """How many connections and neighbours there were."""
        gone = sum(diag.destroy(self._sockets, found) for found in list(diag.sockets(self._sockets)))
        gone += self._routes.flush_neighbours()
        self._routes.flush_exceptions()
        os.pwrite(self._flush, b"1", 0)  # the same over IPv4
        return gone

    def close(self) -> None:
        """Let go of them."""
        self._sockets.close()
        self._routes.close()
        os.close(self._flush)
