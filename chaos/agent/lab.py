"""A lab's process: makes the network namespaces, links them, and is the agent of each node until its end.

Everything is made in place and nothing is ever unmade: when this process (pid 1 of the lab's pid namespace) ends,
the kernel ends its children, and the last process of a namespace takes interfaces, routes, rules, mounts along.
One process for all nodes: a fork of an interpreter costs more than all namespaces of a lab.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import traceback
from typing import NoReturn, TypedDict

from chaos.agent import kernel
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent, Loop


class NodeSpec(TypedDict):
    """A namespace to make: its sysctls in order ([name, value]; a missing one is skipped), and its /etc/hosts."""

    name: str
    sysctls: list[tuple[str, str]]
    hosts: str


class LinkSpec(TypedDict):
    """A veth pair from `hub` to `node`; addresses are [address, prefix length]."""

    hub: str
    node: str
    hub_interface: str
    hub_addresses: list[tuple[str, int]]
    addresses: list[tuple[str, int]]


class RouteSpec(TypedDict):
    """A host route in a node: destination [via a gateway]."""

    node: str
    destination: str
    interface: str
    via: str | None


class Spec(TypedDict):
    """A whole lab. `wire` is the node with the relay's device (none: direct); `bridged` the one with a bridge.

    etc: the text of files in /etc, by name, the same for all nodes.
    """

    nodes: list[NodeSpec]
    links: list[LinkSpec]
    routes: list[RouteSpec]
    etc: dict[str, str]
    wire: str | None
    bridged: str | None


RUN = "/run/connect-chaos"
OWN = (("mnt", kernel.CLONE_NEWNS), ("uts", kernel.CLONE_NEWUTS))
WIRE, WIRE_FAR, WIRE_TABLE = "wire0", "wire1", 100
OWN_TABLE = ("net/ipv4/tcp_child_ehash_entries", "1024")
"""A new namespace's TCP connections are in a table of its own, of this size (Linux 6.1). In the host's, shared by all,
each look at the sockets of a lab and each end of a namespace walks hundreds of thousands of buckets."""


def start(spec: Spec, fds: list[int]) -> NoReturn:
    """Build the lab, say so on the first descriptor, and serve until the host hangs up. Never returns."""
    status = socket.socket(fileno=fds[0])
    try:
        kernel.name_process("lab")
        private_mounts(spec["etc"])
        namespaces = make_namespaces(spec["nodes"])
        build(spec, namespaces)
        loop = Loop()
        loop.watch(fds[0], loop.leave)
        for node, fd in zip(spec["nodes"], fds[1:], strict=True):
            Agent(node["name"], fd, loop, Place(node, namespaces[node["name"]]))
        gc.freeze()
        status.send(b'{"ready":true}\n')
        loop.run()
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{error} ({os.path.basename(where.filename)}:{where.lineno})"
        status.send(json.dumps({"error": text}).encode() + b"\n")
    finally:
        os._exit(0)


def private_mounts(etc: dict[str, str]) -> None:
    """A mount namespace with a tmpfs on /run, which hides the host's name services, and a /proc of our own pids.

    etc: files of /etc that say how names are looked up, by name.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=64m")
    os.mkdir(RUN)
    with contextlib.suppress(PermissionError):  # a container's masked /proc forbids a new one; the old one serves
        kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    for name, text in etc.items():
        _replace(f"/etc/{name}", f"{RUN}/{name}", text)


def _replace(path: str, private: str, text: str) -> None:
    """Have this text where the path leads; systemd's resolv.conf leads into /run, which is ours and empty."""
    real = os.path.realpath(path)
    if real.startswith("/run/"):
        os.makedirs(os.path.dirname(real), exist_ok=True)
        private = real
    with open(private, "w", encoding="ascii") as file:
        file.write(text)
    if private != real and os.path.exists(real):
        kernel.mount(private, real, None, kernel.MS_BIND)


def make_namespaces(nodes: list[NodeSpec]) -> dict[str, int]:
    """A new network namespace for each node, configured before it has a link: {name: descriptor}."""
    made: dict[str, int] = {}
    for node in nodes:
        kernel.write_sysctl(*OWN_TABLE)  # of the namespace that we are in, for the next
        kernel.unshare(kernel.CLONE_NEWNET)
        made[node["name"]] = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with Netlink() as netlink:
            netlink.set_up("lo")
        for name, value in node["sysctls"]:
            kernel.write_sysctl(name, value)
    return made


def build(spec: Spec, namespaces: dict[str, int]) -> None:
    """Links, addresses, the wire's device and the routes, namespace by namespace."""
    hub = spec["wire"] or spec["bridged"]
    if hub:
        kernel.setns(namespaces[hub], kernel.CLONE_NEWNET)
        with Netlink() as netlink:
            _build_hub(netlink, spec, namespaces)
    for link in spec["links"]:
        kernel.setns(namespaces[link["node"]], kernel.CLONE_NEWNET)
        with Netlink() as netlink:
            _build_node(netlink, link, [route for route in spec["routes"] if route["node"] == link["node"]])
    if hub:
        kernel.setns(namespaces[hub], kernel.CLONE_NEWNET)
        with Netlink() as netlink:
            for link in spec["links"]:
                netlink.await_carrier(link["hub_interface"])


def _build_hub(netlink: Netlink, spec: Spec, namespaces: dict[str, int]) -> None:
    if spec["bridged"]:
        netlink.bridge("bridge0")
    for link in spec["links"]:
        _build_hub_side(netlink, link, namespaces, bridged=spec["bridged"] is not None)
    if spec["wire"]:
        build_wire(netlink, [link["hub_interface"] for link in spec["links"]])


def _build_node(netlink: Netlink, link: LinkSpec, routes: list[RouteSpec]) -> None:
    netlink.set_up("eth0")
    for address, prefix in link["addresses"]:
        netlink.address("eth0", address, prefix)
    for route in routes:
        netlink.route(route["destination"], route["interface"], via=route["via"])


def _build_hub_side(netlink: Netlink, link: LinkSpec, namespaces: dict[str, int], *, bridged: bool) -> None:
    name = link["hub_interface"]
    netlink.veth(name, "eth0", namespaces[link["node"]])
    if bridged:
        netlink.set_master(name, "bridge0")
        return
    for address, prefix in link["hub_addresses"]:
        netlink.address(name, address, prefix)
    for address, _ in link["addresses"]:
        netlink.route(address, name)


def build_wire(netlink: Netlink, interfaces: list[str]) -> None:
    """What comes in by one of these interfaces leaves by wire0; the relay (wire.py) holds wire1 and gives it back.

    wire0 has no ARP: its frames carry its own address as destination, so that wire1 ignores them (not addressed to
    it) and wire0 accepts them when the relay returns them unchanged. What the relay says in the router's name comes in
    by wire0 too, from an address of this very host (accept_local: no martian).
    """
    netlink.veth(WIRE, WIRE_FAR, arp=False)
    kernel.write_sysctl(f"net/ipv4/conf/{WIRE}/accept_local", "1")
    netlink.set_up(WIRE_FAR)
    netlink.await_carrier(WIRE)
    kernel.checksum_in_software(WIRE)
    for six in (False, True):
        netlink.route(None, WIRE, table=WIRE_TABLE, six=six)
        for interface in interfaces:
            netlink.rule(interface, WIRE_TABLE, six=six)


class Place:
    """A node's namespaces (serve.Home): the network's, and the mounts and host name of what runs in it."""

    def __init__(self, node: NodeSpec, network: int) -> None:
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS)
        kernel.sethostname(node["name"])
        _replace("/etc/hosts", f"{RUN}/hosts.{node['name']}", node["hosts"])
        own = [(os.open(f"/proc/self/ns/{name}", os.O_RDONLY), flag) for name, flag in OWN]
        self._namespaces = [(network, kernel.CLONE_NEWNET), *own]

    def enter(self) -> None:
        """A thread of ours shares our root and working directory, and whoever shares them cannot change its mounts."""
        kernel.unshare(kernel.CLONE_FS)
        for fd, flag in self._namespaces:
            kernel.setns(fd, flag)
