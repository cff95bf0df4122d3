"""Operation `quiesce`: forget what one leg of a run could leave behind for the next."""

from __future__ import annotations

from chaos.agent import diag, kernel
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent


def run(agent: Agent) -> int:
    """Destroy every connection (TIME_WAIT and SYN_RECV too), flush neighbours and route exceptions.

    Returns how much there was of the first two. Learnt TCP metrics are never kept: the lab sets
    net.ipv4.tcp_no_metrics_save.
    """
    gone = 0
    with Netlink(diag.NETLINK_SOCK_DIAG) as netlink:
        for found in list(diag.sockets(netlink)):
            gone += diag.destroy(netlink, found)
    with Netlink() as netlink:
        gone += netlink.flush_neighbours()
        netlink.flush_exceptions()
    kernel.write_sysctl("net/ipv4/route/flush", "1")  # the same over IPv4
    return gone
