"""Operation `sysctl`: read or write sysctls of the node's network namespace."""

from __future__ import annotations

from chaos.agent import kernel
from chaos.agent.serve import Agent


def run(agent: Agent, *, read: list[str] | None = None, write: list[tuple[str, str]] | None = None) -> dict[str, str]:
    """Names are paths (`net/ipv4/tcp_syn_retries`). The values *before* writing; what this kernel lacks is left out."""
    before: dict[str, str] = {}
    for name in [*(read or ()), *(name for name, _ in write or ())]:
        try:
            before[name] = kernel.read_file(f"/proc/sys/{name}").decode("ascii").strip()
        except FileNotFoundError:
            continue
    for name, value in write or ():
        kernel.write_sysctl(name, value)
    return before
