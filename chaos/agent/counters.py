"""Operation `counters`: the kernel's SNMP counters of this network namespace."""

from __future__ import annotations

from chaos.agent.serve import Agent

TABLES = ("netstat", "snmp")


def run(agent: Agent) -> dict[str, int]:
    """{name: value} of /proc/net/netstat, snmp and snmp6, named as nstat(8) names them: `TcpExtListenOverflows`."""
    found: dict[str, int] = {}
    for table in TABLES:
        with open(f"/proc/self/net/{table}", encoding="ascii") as file:
            lines = file.read().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            group, *keys = names.split()
            found.update((group[:-1] + key, int(value)) for key, value in zip(keys, values.split()[1:], strict=True))
    try:
        with open("/proc/self/net/snmp6", encoding="ascii") as file:
            found.update((name, int(value)) for name, value in map(str.split, file))
    except FileNotFoundError:
        pass  # a kernel without IPv6
    return found
