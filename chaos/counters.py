"""The kernel's SNMP counters of a node, as nstat(8) names them: `TcpExtListenOverflows`.

An agent gives the tables as text, and they are read when somebody asks: most runs expect nothing of any counter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.model import Node

Tables = Sequence[str]
"""The texts of /proc/net/netstat, snmp and snmp6 (proc(5))."""


def count(node: Node, name: str) -> int:
    """What a counter of a node is now. Raises KeyError when this kernel does not have it."""
    return parse(node.call("counters"))[name]


def parse(tables: Tables) -> dict[str, int]:
    """{name: value}. In netstat and snmp names stand above their values; in snmp6 each has a line of its own."""
    *paired, single = tables
    found: dict[str, int] = {}
    for table in paired:
        lines = table.splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            group, *keys = names.split()
            found.update((group[:-1] + key, int(value)) for key, value in zip(keys, values.split()[1:], strict=True))
    found.update((name, int(value)) for name, value in map(str.split, single.splitlines()))
    return found


class Rise(Mapping[str, int]):
    """By how much each counter of a node rose between two looks."""

    def __init__(self, before: Tables, after: Tables) -> None:
        self._before, self._after = before, after

    @cached_property
    def _values(self) -> dict[str, int]:
        before = parse(self._before)
        return {name: value - before.get(name, 0) for name, value in parse(self._after).items()}

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
