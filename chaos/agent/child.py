"""Operation `child`: a word to a child of this agent, or its end."""

from __future__ import annotations

from typing import Any

from chaos.agent.serve import Agent


def run(agent: Agent, *, number: int, tell: Any = None, end: bool = False) -> None:
    """Pass `tell` on to the child, or kill it."""
    if end:
        agent.end(number)
    else:
        agent.tell(number, tell)
