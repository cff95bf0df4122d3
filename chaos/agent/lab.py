"""A lab's first process: makes the network namespaces, links them, starts an agent in each, and waits for its end.

Everything is made in place and nothing is ever unmade: when this process (pid 1 of the lab's pid namespace) ends,
the kernel ends its processes, and the last process of a namespace takes interfaces, routes, rules, mounts along.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import NoReturn, TypedDict

from chaos.agent import kernel
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent


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
    """A whole lab. `wire` is the node with the relay's device (none: direct); `bridged` the one with a bridge."""

    nodes: list[NodeSpec]
    links: list[LinkSpec]
    routes: list[RouteSpec]
    wire: str | None
    bridged: str | None


RUN = "/run/connect-chaos"
WIRE, WIRE_FAR, WIRE_TABLE = "wire0", "wire1", 100


def start(spec: Spec, fds: list[int]) -> NoReturn:
    """Build the lab, say so on the first descriptor, and wait until the host closes it. Never returns."""
    status = socket.socket(fileno=fds[0])
    try:
        private_mounts()
        namespaces = make_namespaces(spec["nodes"])
        build(spec, namespaces)
        gc.freeze()
        for node, fd in zip(spec["nodes"], fds[1:], strict=True):
            _fork_agent(node, namespaces, fd, fds)
        for fd in (*fds[1:], *namespaces.values()):
            os.close(fd)
        status.send(b'{"ready":true}\n')
        _wait(status)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{error} ({os.path.basename(where.filename)}:{where.lineno})"
        status.send(json.dumps({"error": text}).encode() + b"\n")
    finally:
        os._exit(0)


def private_mounts() -> None:
    """A mount namespace with a tmpfs on /run, which hides the host's name services, and a /proc of our own pids."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=64m")
    os.mkdir(RUN)
    with contextlib.suppress(PermissionError):  # a container's masked /proc forbids a new one; the old one serves
        kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    for name, text in (("nsswitch.conf", "hosts: files\n"), ("resolv.conf", "")):
        _replace(f"/etc/{name}", f"{RUN}/{name}", text)


def _replace(path: str, private: str, text: str) -> None:
    with open(private, "w", encoding="ascii") as file:
        file.write(text)
    if os.path.exists(path):
        kernel.mount(private, path, None, kernel.MS_BIND)


def make_namespaces(nodes: list[NodeSpec]) -> dict[str, int]:
    """A new network namespace for each node, configured before it has a link: {name: descriptor}."""
    made: dict[str, int] = {}
    for node in nodes:
        kernel.unshare(kernel.CLONE_NEWNET)
        made[node["name"]] = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for name, value in node["sysctls"]:
            kernel.write_sysctl(name, value)
        with Netlink() as netlink:
            netlink.set_up("lo")
    return made


def build(spec: Spec, namespaces: dict[str, int]) -> None:
    """Links, addresses, the wire's device and the routes, namespace by namespace."""
    hub = spec["wire"] or spec["bridged"]
    if hub:
        kernel.setns(namespaces[hub], kernel.CLONE_NEWNET)
        with Netlink() as netlink:
            if spec["bridged"]:
                netlink.bridge("bridge0")
            for link in spec["links"]:
                _build_hub_side(netlink, link, namespaces, bridged=spec["bridged"] is not None)
            if spec["wire"]:
                build_wire(netlink, [link["hub_interface"] for link in spec["links"]])
    for link in spec["links"]:
        kernel.setns(namespaces[link["node"]], kernel.CLONE_NEWNET)
        with Netlink() as netlink:
            netlink.set_up("eth0")
            for address, prefix in link["addresses"]:
                netlink.address("eth0", address, prefix)
            for route in spec["routes"]:
                if route["node"] == link["node"]:
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
    it) and wire0 accepts them when the relay returns them unchanged.
    """
    netlink.veth(WIRE, WIRE_FAR, arp=False)
    netlink.set_up(WIRE_FAR)
    kernel.checksum_in_software(WIRE)
    for six in (False, True):
        netlink.route(None, WIRE, table=WIRE_TABLE, six=six)
        for interface in interfaces:
            netlink.rule(interface, WIRE_TABLE, six=six)


def _fork_agent(node: NodeSpec, namespaces: dict[str, int], fd: int, fds: list[int]) -> None:
    if os.fork():
        return
    try:
        kernel.die_with_parent()
        kernel.setns(namespaces[node["name"]], kernel.CLONE_NEWNET)
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS)
        kernel.sethostname(node["name"])
        _replace("/etc/hosts", f"{RUN}/hosts.{node['name']}", node["hosts"])
        for other in (*(other for other in fds if other != fd), *namespaces.values()):
            os.close(other)
        Agent(node["name"], fd, fd).run()
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(1)


def _wait(status: socket.socket) -> None:
    """Reap whatever ends here until the host closes the status socket."""
    wake, _woken = kernel.wake_on_child()
    while True:
        readable, _, _ = select.select([status, wake], [], [])
        if status in readable:
            signal.set_wakeup_fd(-1)
            return
        wake.recv(4096)
        kernel.reap()
