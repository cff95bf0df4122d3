"""Operation `quiesce`: forget what one leg of a run could leave behind for the next."""

from __future__ import annotations

import os
from collections.abc import Sequence

from chaos.agent import diag, endpoint
from chaos.agent.capture import Capture
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent

ROUTES_OF_IPV4 = "/proc/sys/net/ipv4/route/flush"


def run(agent: Agent, *, do: str = "forget", families: Sequence[str] = ("ipv4", "ipv6")) -> int:
    """`forget`: have clients and servers close what they hold, silently; destroy every connection that is left
    (TIME_WAIT and SYN_RECV too), flush the neighbours and route exceptions of the lab's `families`.

    `look` returns how many frames this node has sent or received since it began to forget: what was destroyed may tell
    its peer, which warms neighbours again. Learnt TCP metrics are never kept: net.ipv4.tcp_no_metrics_save is set.
    """
    if "memory" not in agent.state:
        agent.state["memory"] = Memory(agent)
    memory: Memory = agent.state["memory"]
    if do == "look":
        return memory.moved()
    memory.mark()
    agent.release()
    agent.forget_connections()
    memory.forget(families)
    return 0


class Memory:
    """What this node's kernel remembers of a leg, by sockets that stay open: it is asked a dozen times in a run."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._marked = 0
        self._sockets, self._routes = Netlink(diag.NETLINK_SOCK_DIAG), Netlink()
        self._flush = os.open(ROUTES_OF_IPV4, os.O_WRONLY)

    def mark(self) -> None:
        """What moves from now on is counted."""
        self._marked = self._seen()

    def moved(self) -> int:
        """Frames since the mark; the router, which has no capture, leaves that to the ends."""
        return self._seen() - self._marked

    def _seen(self) -> int:
        capture: Capture | None = self._agent.state.get("capture")
        if capture is None:
            return 0
        capture.drain()
        return capture.counted

    def forget(self, families: Sequence[str]) -> None:
        """Destroy and flush; only what these families have, and the neighbours that are known: to look for others is to
        look at those of all namespaces.
        """
        for found in list(diag.sockets(self._sockets)):
            diag.destroy(self._sockets, found)
        if self._agent.neighbours is not None:
            self._routes.forget_neighbours(self._agent.neighbours)
        else:
            for family in families:
                self._routes.flush_neighbours(endpoint.FAMILIES[family])
        if "ipv4" in families:
            os.pwrite(self._flush, b"1", 0)  # route exceptions
        if "ipv6" in families:
            self._routes.flush_exceptions()

    def close(self) -> None:
        """Let go of them."""
        self._sockets.close()
        self._routes.close()
        os.close(self._flush)
