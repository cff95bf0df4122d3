"""Operation `reset`: end everything that the last lab had running in this node: the next one finds it as new."""

from __future__ import annotations

from chaos.agent.serve import Agent


def run(agent: Agent) -> None:
    """The children, the capture and all state go; the network's settings stay."""
    agent.reset()
