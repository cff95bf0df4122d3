"""Operation `names`: the node's own /etc/hosts (a private file, mounted over the image's or the host's)."""

from __future__ import annotations

from chaos.agent.serve import Agent


def run(agent: Agent, *, hosts: str) -> None:
    """Write the file in place: it is a bind mount, so it cannot be replaced by renaming."""
    with open("/etc/hosts", "w", encoding="ascii") as file:
        file.write(hosts)
