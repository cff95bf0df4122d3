"""The kernel's neighbour tables (arp(7)): one a family, shared by all network namespaces of a host, with room for few.

Linux forgets the address of a neighbour when it pleases and asks again; but when net.ipv4.neigh.default.gc_thresh3
entries (1,024 by default) have all been used within five seconds, what goes to one more is dropped, whatever lab it
is of (net/core/neighbour.c, neigh_alloc()). So labs that live at once are bounded, and an overflow is told.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chaos.model import Family, Setting

NEIGHBOURS: Final = "the host's neighbour tables"
"""Where packets were lost, beside nodes."""
THRESHOLDS: Final = ("net/ipv4/neigh/default/gc_thresh3", "net/ipv6/neigh/default/gc_thresh3")
USUAL: Final = 1024
"""Linux's own threshold; only the first network namespace tells another one."""
OF_SERVICE: Final[Mapping[Family, int]] = {"ipv4": 2, "ipv6": 3}
"""Entries of a service: its own of the router, and the router's of it; a router has two addresses in IPv6."""
OURS: Final = 0.85
"""The part of a table that our labs may have. The rest is for those that are being taken down (some twenty of two
hundred), and for the host."""
TABLES: Final[Mapping[Family, str]] = {"ipv4": "/proc/net/stat/arp_cache", "ipv6": "/proc/net/stat/ndisc_cache"}
FULL: Final = b"table_fulls"


def room() -> int:
    """Entries that the labs of this process may have at once; the workers of pytest-xdist share them."""
    found = [int(path.read_text(encoding="ascii")) for name in THRESHOLDS if (path := Path("/proc/sys", name)).exists()]
    return int(min(found, default=USUAL) * OURS) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def of(setting: Setting) -> int:
    """Entries of a lab, at most."""
    return len(setting.topology.services) * sum(OF_SERVICE[family] for family in setting.families)


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
