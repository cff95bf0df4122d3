"""Operation `join`: make of the container whose network namespace this is a node of the lab.

Docker gave it an address in a subnet, a connected route and a default route; a node has one host address a family, host
routes to its peers and no other way out, as in the netns backend. The router gets the wire too.
"""

from __future__ import annotations

from chaos.agent import kernel
from chaos.agent.lab import build_wire
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent


def run(
    agent: Agent,
    *,
    sysctls: list[tuple[str, str]],
    addresses: list[tuple[str, int]],
    routes: list[tuple[str, str | None]],
    wire: bool,
    processor: int,
    interface: str = "eth0",
) -> None:
    """`addresses` are [address, prefix length]; `routes` are [destination, gateway or null], in order. `processor` is a
    number that all nodes of the lab are given: they run on the same one (kernel.stay_on).
    """
    kernel.stay_on(processor)
    for name, value in sysctls:
        kernel.write_sysctl(name, value)
    with Netlink() as netlink:
        netlink.flush_addresses(interface)
        netlink.flush_routes(interface)
        with netlink.together():
            for address, prefix in addresses:
                netlink.address(interface, address, prefix)
            for destination, via in routes:
                netlink.route(destination, interface, via=via)
            if wire:
                build_wire(netlink, [interface], ["ipv4", "ipv6"])
        netlink.await_addresses([address for address, _ in addresses])
