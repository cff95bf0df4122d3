"""Operation `release`: the `socket` clients of this node close what they hold, so that their peers do not notice."""

from __future__ import annotations

from chaos.agent.serve import Agent


def run(agent: Agent) -> None:
    """No FIN and no RST is sent (diag.forget)."""
    agent.release()
