"""Operation `states`: which states a node's connections to one port go through, sampled from the kernel."""

from __future__ import annotations

import select
import time
from typing import Any

from chaos.agent import diag
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent, Pipe

SHORTEST, LONGEST, SHARE = 0.002, 0.25, 4
"""Seconds between two looks: a quarter of the time since the last change, within these bounds."""


def run(agent: Agent, *, port: int) -> int:
    """Start sampling; told {"stop": true} the child answers {"seen": [[time_ns, state], ...], "gap_s": seconds};
    told {"look": true} it looks at once and answers {"looked": true}.

    `seen` holds each connection's changes of state in order of time; `gap_s` is the longest time between two looks,
    so that a state which was not seen can be judged.
    """
    return agent.thread(lambda pipe: sample(port, pipe))


def sample(port: int, pipe: Pipe) -> None:
    """Look often while states change, then less and less: a state that lasts is met, and a long wait costs little."""
    seen: list[tuple[int, str]] = []
    last: dict[bytes, str] = {}
    changed = before = time.time_ns()
    gap = 0
    pipe.write({"ready": True})
    with Netlink(diag.NETLINK_SOCK_DIAG) as netlink:
        while True:
            stop, _, _ = select.select([pipe.reader], [], [], period(time.time_ns() - changed))
            now = time.time_ns()
            for found in diag.sockets(netlink):
                if port in (found.sport, found.dport) and last.get(found.identity[:36]) != found.state:
                    last[found.identity[:36]] = found.state
                    seen.append((now, found.state))
                    changed = now
            gap, before = max(gap, now - before), now
            if stop:
                pipe.write(report(seen, gap) if "stop" in pipe.next() else {"looked": True})


def period(since_change_ns: int) -> float:
    """Seconds until the next look."""
    return min(LONGEST, max(SHORTEST, since_change_ns / 1e9 / SHARE))


def report(seen: list[tuple[int, str]], gap_ns: int) -> dict[str, Any]:
    """What was seen, and the largest hole between two looks in seconds."""
    return {"seen": seen, "gap_s": gap_ns / 1e9}
