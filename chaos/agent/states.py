"""Operation `states`: which states a node's connections to one port go through, as the kernel holds them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from chaos.agent import diag
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent

SOON, LATER = 0.002, 0.25
"""Seconds from a packet to the second look, and from there to the third."""


def run(agent: Agent, *, do: str, port: int = 0) -> dict[str, Any] | None:
    """`start` looking at the connections of a port; `look` once more, now.

    `stop` returns {"seen": [[time_ns, state], ...], "gap_s": seconds}: each connection's changes of state in order of
    time, and the longest time between two looks, so that a state which was not seen can be judged.
    """
    if do == "start":
        agent.state["states"] = Sampler(agent, port)
        return None
    sampler: Sampler = agent.state["states"]
    sampler.look()
    if do == "look":
        return None
    sampler.close()
    del agent.state["states"]
    return {"seen": sampler.seen, "gap_s": sampler.gap_ns / 1e9}


class Sampler:
    """Looks when the node has sent or received a packet, for that is when states change, and now and then.

    The capture has a packet that comes in before TCP has it: a little later it is looked once more. A state in which
    nothing moves is looked at more and more seldom: when it has lasted twice as long.
    """

    def __init__(self, agent: Agent, port: int) -> None:
        self.seen: list[tuple[int, str]] = []
        self.gap_ns = 0
        self._agent, self._port = agent, port
        self._last: dict[bytes, str] = {}
        self._still = SOON
        self._before = time.time_ns()
        self._netlink = Netlink(diag.NETLINK_SOCK_DIAG)
        self._hear(self._moved)
        self._look_again()

    def _hear(self, callback: Callable[[], None] | None) -> None:
        capture = self._agent.state.get("capture")  # the router has none
        if capture is not None:
            capture.heard = callback

    def look(self) -> None:
        """Take down what has changed."""
        now = time.time_ns()
        for found in diag.sockets(self._netlink):
            connection = found.identity[:36]
            if self._port in (found.sport, found.dport) and self._last.get(connection) != found.state:
                self._last[connection] = found.state
                self.seen.append((now, found.state))
        self.gap_ns, self._before = max(self.gap_ns, now - self._before), now

    def _moved(self) -> None:
        self.look()
        self._still = SOON
        self._agent.alarm(self._look_again, SOON)

    def _look_again(self) -> None:
        self.look()
        self._agent.alarm(self._look_again, patience := max(LATER, self._still))
        self._still += patience

    def close(self) -> None:
        """Look no more."""
        self._agent.alarm(self._look_again, None)
        self._hear(None)
        self._netlink.close()
