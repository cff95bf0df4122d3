"""A lab's process: makes the network namespaces, links them, and is the agent of each node until its end.

Everything is made in place and nothing is ever unmade: when this process (pid 1 of its own pid namespace) leaves the
namespaces that it has made, the kernel takes them down, with their interfaces, routes, rules and mounts. One process
for all nodes: a fork of an interpreter costs more than all namespaces of a lab.

For the same reason a process serves one lab after another. Between two of them it is what it was when it was forked:
back in its own namespaces, without children, threads and descriptors that it did not have then. One that is not ends,
and whatever is left of its lab with it; the host asks for a new one.

All of a lab runs on one processor, so that its frames keep their order (kernel.stay_on).

    host -> lab     SPEC as JSON, with a descriptor for each agent (SCM_RIGHTS)
    lab -> host     {"ready": true}, or {"error": text} and the end
    lab -> host     {"rest": true}: the host has hung up on the agents, and the next lab may come
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import traceback
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn, TypedDict

from chaos.agent import descendants, kernel, threads
from chaos.agent.netlink import LOOPBACK, Netlink
from chaos.agent.serve import Agent, Host, Loop


class NodeSpec(TypedDict):
    """A namespace to make: its sysctls in order ([name, value]; a missing one is skipped)."""

    name: str
    sysctls: list[tuple[str, str]]


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

    etc: the text of files in /etc, by name, the same for all nodes. families: those that go over the wire.
    """

    nodes: list[NodeSpec]
    links: list[LinkSpec]
    routes: list[RouteSpec]
    etc: dict[str, str]
    families: list[str]
    wire: str | None
    bridged: str | None


RUN = "/run/connect-chaos"
NAMESPACES = (("net", kernel.CLONE_NEWNET), ("mnt", kernel.CLONE_NEWNS))
WIRE, WIRE_FAR, WIRE_TABLE = "wire0", "wire1", 100
BEHIND_WIRE = {"ipv4": "169.254.0.1", "ipv6": "fe80::2"}
"""A neighbour whose address is known for good, so that the wire needs one for each family and not for each node."""
OWN_TABLE = ("net/ipv4/tcp_child_ehash_entries", "1024")
"""TCP connections of the namespaces that are made in this one are in tables of their own, of this size (Linux 6.1). In
the host's, shared by all, each look at the sockets of a lab and each end of a namespace walks hundreds of thousands of
buckets."""
LONGEST = 1 << 18
"""Bytes of a request, which brings one descriptor."""


def start(status: socket.socket) -> NoReturn:
    """Serve the labs that the host asks for on this socket, one after another. Never returns."""
    try:
        kernel.name_process("lab")
        base = Base()
        while (asked := request(status)) is not None:
            with Lab(*asked, base) as lab:
                status.send(b'{"ready":true}')
                lab.loop.run()
            base.back()
            if not base.is_all():
                break
            status.send(b'{"rest":true}')
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{error} ({os.path.basename(where.filename)}:{where.lineno})"
        with contextlib.suppress(OSError):  # nobody is there to hear it
            status.send(json.dumps({"error": text}).encode())
    finally:
        os._exit(0)


def request(control: socket.socket) -> tuple[bytes, list[int]] | None:
    """The next message on a SOCK_SEQPACKET socket of the host's, and its descriptors; None when the host has gone."""
    try:
        message, fds = kernel.receive(control, LONGEST, 1)
    except ConnectionResetError:
        return None
    return (message, fds) if message else None


class Base:
    """What this process is when it is no lab: namespaces of its own, with a /proc of its own pids, and nothing else."""

    def __init__(self) -> None:
        kernel.unshare(kernel.CLONE_NEWNS)  # one must own a namespace to come back to it
        with contextlib.suppress(PermissionError):  # a container's masked /proc forbids a new one; the old one serves
            kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        kernel.write_sysctl(*OWN_TABLE)
        self._namespaces = [(_opened(name), flag) for name, flag in NAMESPACES]
        self.network = self._namespaces[0][0]
        self._processors = os.sched_getaffinity(0)
        self._descriptors = _descriptors()

    def back(self) -> None:
        """Leave the lab's namespaces, which end with that, and end whatever still runs in them."""
        descendants.end()
        os.sched_setaffinity(0, self._processors)
        kernel.unshare(kernel.CLONE_FS)  # as Mounts.enter does
        for fd, flag in self._namespaces:
            kernel.setns(fd, flag)

    def is_all(self) -> bool:
        """Whether nothing is left of the lab: no child, no thread, no descriptor."""
        single = not threads.alive and threading.active_count() == 1
        return single and _descriptors() == self._descriptors and not descendants.any_child()


def _opened(name: str) -> int:
    return os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)


def _descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")  # the one by which it is read is the same each time


class Lab:
    """The namespaces of a lab, and the agents of its nodes, which serve in `loop`; all gone when it is left."""

    def __init__(self, asked: bytes, fds: Sequence[int], base: Base) -> None:
        spec: Spec = json.loads(asked)
        kernel.stay_on()
        self.loop = Loop()
        private_mounts(spec["etc"])
        networks = make_namespaces(spec["nodes"], base.network)
        build(spec, networks)
        for network in networks.values():
            network.netlink.close()
        self._mounts = Mounts()
        self._pids = _opened("pid")
        self._places = [Place(name, network.fd, self._mounts, self._pids) for name, network in networks.items()]
        (line,) = fds
        self._host = Host(line, self.loop)
        for name, place in zip(networks, self._places, strict=True):
            Agent(name, self._host, self.loop, place)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self._host.close()
        for place in self._places:
            place.close()
        self._mounts.close()
        os.close(self._pids)
        self.loop.close()


def private_mounts(etc: dict[str, str]) -> None:
    """A mount namespace with a tmpfs on /run, which hides the host's name services.

    etc: files of /etc that say how names are looked up, by name.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=64m")
    os.mkdir(RUN)
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


class Network(NamedTuple):
    """A new network namespace: its descriptor, and what changes it."""

    fd: int
    netlink: Netlink


def make_namespaces(nodes: list[NodeSpec], base: int) -> dict[str, Network]:
    """A new network namespace for each node, configured before it has a link, made by one in the namespace `base`.

    A sysctl that had the right value in the first of them has it in all, which are made alike.
    """
    made: dict[str, Network] = {}
    differs: dict[tuple[str, str], bool] = {}
    for node in nodes:
        kernel.setns(base, kernel.CLONE_NEWNET)
        kernel.unshare(kernel.CLONE_NEWNET)
        made[node["name"]] = Network(_opened("net"), Netlink(new=True))
        for name, value in node["sysctls"]:
            if (name, value) not in differs:
                differs[name, value] = kernel.write_sysctl(name, value)
            elif differs[name, value]:
                kernel.set_sysctl(name, value)
    return made


def build(spec: Spec, networks: Mapping[str, Network]) -> None:
    """Links, addresses, the wire's device and the routes: one message to the kernel for each namespace."""
    hub = networks[spec["links"][0]["hub"]]
    kernel.setns(hub.fd, kernel.CLONE_NEWNET)
    with hub.netlink.together():
        _build_hub(hub.netlink, spec, networks)
    for link in spec["links"]:
        netlink = networks[link["node"]].netlink
        with netlink.together():
            _build_node(netlink, link, [route for route in spec["routes"] if route["node"] == link["node"]])
    hub.netlink.await_carriers([link["hub_interface"] for link in spec["links"]])


def _build_hub(netlink: Netlink, spec: Spec, networks: Mapping[str, Network]) -> None:
    netlink.set_up(LOOPBACK)
    if spec["bridged"]:
        netlink.bridge("bridge0")
    for link in spec["links"]:
        _build_hub_side(netlink, link, networks[link["node"]], bridged=spec["bridged"] is not None)
    if spec["wire"]:
        build_wire(netlink, [link["hub_interface"] for link in spec["links"]], spec["families"])


def _build_node(netlink: Netlink, link: LinkSpec, routes: list[RouteSpec]) -> None:
    netlink.set_up(LOOPBACK)
    netlink.set_up("eth0")
    for address, prefix in link["addresses"]:
        netlink.address("eth0", address, prefix)
    for route in routes:
        netlink.route(route["destination"], route["interface"], via=route["via"])


def _build_hub_side(netlink: Netlink, link: LinkSpec, there: Network, *, bridged: bool) -> None:
    name = link["hub_interface"]
    netlink.veth(name, "eth0", there)
    if bridged:
        netlink.set_master(name, "bridge0")
        return
    for address, prefix in link["hub_addresses"]:
        netlink.address(name, address, prefix)
    for address, _ in link["addresses"]:
        netlink.route(address, name)


def build_wire(netlink: Netlink, interfaces: Sequence[str], families: Sequence[str]) -> None:
    """What comes in by one of these interfaces leaves by wire0; the relay (wire.py) holds wire1 and gives it back.

    wire0 has no ARP: its frames carry its own address as destination, so that wire1 ignores them (not addressed to
    it) and wire0 accepts them when the relay returns them unchanged. What the relay says in the router's name comes in
    by wire0 too, from an address of this very host (accept_local: no martian).
    """
    netlink.veth(WIRE, WIRE_FAR, arp=False)
    netlink.accept_local(WIRE)
    netlink.set_up(WIRE_FAR)
    for family in families:
        netlink.default_route(BEHIND_WIRE[family], WIRE, WIRE_TABLE)
        netlink.permanent_neighbour(BEHIND_WIRE[family], WIRE)
        for interface in interfaces:
            netlink.rule(interface, WIRE_TABLE, six=family == "ipv6")
    netlink.await_carriers([WIRE])
    kernel.checksum_in_software(WIRE)


class Mounts:
    """The mounts of a lab, and those of its nodes that have files of their own; this process is in one set of them."""

    def __init__(self) -> None:
        self._all = self._entered = _opened("mnt")

    def enter(self, own: int | None) -> None:
        """A node's own, or those of all. A thread of ours shares our root and working directory, and whoever shares
        them cannot change its mounts.
        """
        wanted = self.of(own)
        if self._entered != wanted:
            kernel.unshare(kernel.CLONE_FS)
            kernel.setns(wanted, kernel.CLONE_NEWNS)
            self._entered = wanted

    def copied(self) -> int:
        """A copy of those that we are in, which we are in from now on: a descriptor, which the caller closes."""
        kernel.unshare(kernel.CLONE_NEWNS)
        self._entered = _opened("mnt")
        return self._entered

    def of(self, own: int | None) -> int:
        """The descriptor of a node's own, or of those of all."""
        return self._all if own is None else own

    def close(self) -> None:
        """Let go of them."""
        os.close(self._all)


class Place:
    """A node's namespaces (serve.Home): the network's, and its mounts, which are the lab's until it has its own."""

    def __init__(self, name: str, network: int, mounts: Mounts, pids: int) -> None:
        self._name, self._network, self._mounts, self._pids = name, network, mounts, pids
        self._own: int | None = None

    def enter(self) -> None:
        kernel.setns(self._network, kernel.CLONE_NEWNET)
        self._mounts.enter(self._own)

    def settle(self) -> None:
        kernel.own_hostname(self._name)

    def doors(self) -> list[int]:
        return [self._pids, self._network, self._mounts.of(self._own)]

    def separate(self) -> None:
        """From now on /etc/hosts of this node, which this process is in, is its own."""
        if self._own is None:
            self._own = self._mounts.copied()
            with open("/etc/hosts", encoding="ascii") as file:
                _replace("/etc/hosts", f"{RUN}/hosts.{self._name}", file.read())

    def close(self) -> None:
        """Let go of them."""
        os.close(self._network)
        if self._own is not None:
            os.close(self._own)
