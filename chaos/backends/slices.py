"""Which slice of the address space a lab gets: one that no network of the engine overlaps, as far as can be seen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

from chaos.backends.composed import SLICES, Slice
from chaos.errors import CommandFailed, LabError

if TYPE_CHECKING:
    from docker import APIClient

TRIES: Final = 8
"""Slices that are tried for one lab: another session may be quicker between our look and Compose's request."""
_REFUSAL: Final = "Pool overlaps"
"""What the engine says of a subnet that somebody has (libnetwork, ipamapi.ErrPoolOverlap)."""


class Slices:
    """The slices that one session has, from `start` on: sessions begin at different places."""

    def __init__(self, start: int) -> None:
        self._order = [(start + offset) % SLICES for offset in range(SLICES)]
        self._lock = threading.Lock()
        self._taken: set[int] = set()

    def reserve(self, api: APIClient) -> Slice:
        """The next one that is free. LabError when there is none."""
        others = [ip_network(subnet) for subnet in _subnets(api)]
        with self._lock:
            for one in map(Slice, self._order):
                ours: list[Any] = [ip_network(one.subnet("ipv4")), ip_network(one.subnet("ipv6"))]
                if one.number not in self._taken and not any(net.overlaps(other) for net in ours for other in others):
                    self._taken.add(one.number)
                    return one
        raise LabError("every slice of 198.18.0.0/15 is taken by a network of this engine")

    def release(self, share: Slice) -> None:
        """Nothing of ours is in it any more."""
        with self._lock:
            self._taken.discard(share.number)


def refused(error: CommandFailed) -> bool:
    """Whether Compose could not have the lab's network because somebody else has taken its addresses."""
    return _REFUSAL in error.stderr


def _subnets(api: APIClient) -> Iterator[str]:
    for network in api.networks():
        yield from (pool["Subnet"] for pool in network["IPAM"]["Config"] or () if pool.get("Subnet"))
