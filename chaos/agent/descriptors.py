"""Operation `descriptors`: clients of this node find their table of file descriptors full (RLIMIT_NOFILE, EMFILE)."""

from __future__ import annotations

import os
import resource

from chaos.agent.serve import Agent


def run(agent: Agent, *, before: str | None) -> int:
    """From now on the `socket` client has none left before it looks up the name (`resolve`) or calls socket(2).

    before: `resolve`, `socket`, or None, for clients that have what they need. Returns how many attempts of that client
    there were since the last change.
    """
    if before != agent.state.get("descriptors"):
        agent.state["descriptors"], agent.state["attempts"] = before, 0
    return int(agent.state.get("attempts", 0))


def take_descriptors() -> None:
    """Leave this process none: its limit becomes the lowest number that is free (getrlimit(2))."""
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
