"""Operation `reset`: end everything that the last lab had running in this node: the next one finds it as new."""

from __future__ import annotations

from chaos.agent.serve import Agent


def run(agent: Agent) -> None:
    """The children, the capture and all state go; the network's settings stay."""
    for number in list(agent.children):
        agent.end(number)
    capture = agent.state.pop("capture", None)
    if capture is not None:
        agent.unwatch(capture.socket.fileno())
        capture.socket.close()
    agent.state.clear()
