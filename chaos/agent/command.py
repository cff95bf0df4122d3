"""Operation `command`: run one short program in the node, as a person would, and return what it printed."""

from __future__ import annotations

from chaos.agent import spawned
from chaos.agent.serve import Agent


def run(agent: Agent, *, argv: list[str], stdin: str = "") -> str:
    """stdout of the program; fails as {"kind": "missing", "tool"} or {"kind": "failed", "argv", "status", "stderr"}."""
    return spawned.output(argv, stdin)
