"""Operation `child`: a word to a child of this agent, its stop, or its end."""

from __future__ import annotations

from typing import Any

from chaos.agent.serve import Agent


def run(
    agent: Agent, *, number: int, tell: Any = None, end: bool = False, forget: bool = False, stop: bool | None = None
) -> None:
    """Pass `tell` on to the child, stop it or have it go on, or kill it (a server may `forget` what it holds first)."""
    if forget:
        agent.forget(number)
    if end:
        agent.end(number)
    elif stop is not None:
        agent.stop(number, stop=stop)
    else:
        agent.tell(number, tell)
