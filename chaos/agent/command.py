"""Operation `command`: run one short program in the node, as a person would, and return what it printed."""

from __future__ import annotations

from chaos.agent.serve import Agent
from chaos.agent.spawned import TIMEOUT, Spawned


def run(agent: Agent, *, argv: list[str], stdin: str = "") -> None:
    """stdout of the program; fails as {"kind": "missing", "tool"} or {"kind": "failed", "argv", "status", "stderr"}.

    The wire relays meanwhile.
    """
    program = Spawned(argv, stdin)
    finish = agent.later()

    def ended() -> None:
        agent.unwatch(program.ended)
        agent.alarm(program.kill, None)
        finish(program.output)

    agent.watch(program.ended, ended)
    agent.alarm(program.kill, TIMEOUT)
