"""Operation `names`: the node's own /etc/hosts and resolv.conf (files of its own, over the host's or the image's)."""

from __future__ import annotations

from chaos.agent.serve import Agent


def run(agent: Agent, *, hosts: str, resolv_conf: str | None = None) -> None:
    """Write them in place: they are bind mounts, so they cannot be replaced by renaming. None: as it is."""
    agent.have_own_files()
    for path, text in (("/etc/hosts", hosts), ("/etc/resolv.conf", resolv_conf)):
        if text is not None:
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
