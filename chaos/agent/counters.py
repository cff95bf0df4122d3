"""Operation `counters`: the kernel's SNMP counters of this network namespace."""

from __future__ import annotations

from chaos.agent.kernel import read_file
from chaos.agent.serve import Agent

TABLES = ("netstat", "snmp", "snmp6")


def run(agent: Agent) -> list[str]:
    """/proc/net/netstat, snmp and snmp6 as they are (empty without IPv6): chaos/counters.py reads them if need be."""
    return [_table(name) for name in TABLES]


def _table(name: str) -> str:
    try:
        return read_file(f"/proc/self/net/{name}").decode("ascii")
    except FileNotFoundError:
        return ""
