"""The kernel's neighbour tables (arp(7)): one a family, shared by all network namespaces of a host, with room for few.

Linux forgets the address of a neighbour when it pleases and asks again; but when net.ipv4.neigh.default.gc_thresh3
entries (1,024 by default) have all been used within five seconds, what goes to one more is dropped, whatever lab it
is of (net/core/neighbour.c, neigh_alloc()). The entries of a lab in network namespaces do not count (agent/netlink.py,
reserve_neighbour()); those of containers and of the host do. An overflow, whoever caused it, is told.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chaos.model import Family

NEIGHBOURS: Final = "the host's neighbour tables"
"""Where packets were lost, beside nodes."""
TABLES: Final[Mapping[Family, str]] = {"ipv4": "/proc/net/stat/arp_cache", "ipv6": "/proc/net/stat/ndisc_cache"}
FULL: Final = b"table_fulls"


def overflows(families: Iterable[Family]) -> int:
    """How often a table had no room since the host was booted; 0 where that is not told, as in most containers."""
    return sum(_overflows(TABLES[family]) for family in families)


def _overflows(table: str) -> int:
    """A line of names, and one of hexadecimal numbers for each processor."""
    try:
        names, *processors = Path(table).read_bytes().splitlines()
    except FileNotFoundError:
        return 0
    column = names.split().index(FULL)
    return sum(int(line.split()[column], 16) for line in processors)
