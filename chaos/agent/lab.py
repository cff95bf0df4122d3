"""A lab's process: makes the network namespaces, links them, and is the agent of each node until its end.

Everything is made in place and nothing is ever unmade: when this process (pid 1 of its own pid namespace) leaves the
namespaces that it has made, the kernel takes them down, with their interfaces, routes, rules and mounts. One process
for all nodes: a fork of an interpreter costs more than all namespaces of a lab.

For the same reason a process has several labs at a time, if the host says so (it does when all the others wait), and
one after another. When the last has ended it is what it was when it was forked: back in its own namespaces, without
children, threads and descriptors that it did not have then. One that is not ends, and whatever is left of its labs with
it; the host asks for a new one.

All of a lab runs on one processor, so that its frames keep their order (kernel.stay_on).

    host -> lab     SPEC as JSON, with the host's line to its agents (SCM_RIGHTS)
    lab -> host     {"ready": true}, or {"error": text} and, when no other lab is left, the end
    lab -> host     {"rest": true}: the host has hung up on all agents
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn, TypedDict

from chaos.agent import descendants, kernel, threads
from chaos.agent.netlink import LOOPBACK, Netlink
from chaos.agent.serve import Agent, Host, Loop, Neighbour


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
    """Serve the labs that the host asks for on this socket. Never returns."""
    try:
        kernel.name_process("lab")
        base = Base()
        while (asked := request(status)) is not None:
            house = House(status, base)
            house.build(*asked)
            house.loop.run()
            base.back()
            if house.broken or not base.is_all():
                break
            status.send(b'{"rest":true}')
    except BaseException as error:
        tell(status, error)
    finally:
        os._exit(0)


def tell(status: socket.socket, error: BaseException) -> None:
    """Say what went wrong, and where."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{error} ({os.path.basename(where.filename)}:{where.lineno})"
    with contextlib.suppress(OSError):  # nobody is there to hear it
        status.send(json.dumps({"error": text}).encode())


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
        self.network, self._mounts = _opened("net"), _opened("mnt")
        self._among = self._mounts
        self._processors = os.sched_getaffinity(0)
        self._descriptors = _descriptors()

    def back(self) -> None:
        """End whatever the labs have left running, and be no lab."""
        descendants.end()
        os.sched_setaffinity(0, self._processors)
        self.be_here()

    def be_here(self) -> None:
        """Leave a lab's namespaces, which end with that when it is over."""
        kernel.setns(self.network, kernel.CLONE_NEWNET)
        self.be_among(self._mounts)

    def be_among(self, mounts: int) -> None:
        """Have these mounts. A thread of ours shares our root and working directory, and whoever shares them cannot
        change its mounts.
        """
        if self._among != mounts:
            kernel.unshare(kernel.CLONE_FS)
            kernel.setns(mounts, kernel.CLONE_NEWNS)
            self._among = mounts

    def copy_mounts(self) -> int:
        """A copy of those that we have, which we have from now on: a descriptor, which the caller closes."""
        kernel.unshare(kernel.CLONE_NEWNS)
        self._among = _opened("mnt")
        return self._among

    def is_all(self) -> bool:
        """Whether nothing is left of labs: no child, no thread, no descriptor."""
        single = not threads.alive and threading.active_count() == 1
        return single and _descriptors() == self._descriptors and not descendants.any_child()


def _opened(name: str) -> int:
    return os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)


def _descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")  # the one by which it is read is the same each time


class House:
    """The labs that this process has at the same time, in one loop, which ends with the last of them.

    broken: one could not be built, and who knows what is left of it.
    """

    def __init__(self, status: socket.socket, base: Base) -> None:
        self.loop = Loop()
        self.broken = False
        self._status, self._base = status, base
        self._labs: set[Lab] = set()
        kernel.stay_on()
        self.loop.watch(status.fileno(), self._another)

    def _another(self) -> None:
        asked = request(self._status)
        if asked is None:
            os._exit(0)  # the host has gone
        self.build(*asked)

    def build(self, asked: bytes, fds: Sequence[int]) -> None:
        """Have one lab more, and tell the host that it is ready, or why not."""
        self._be_in_none()
        try:
            self._labs.add(Lab(asked, fds, self._base, self.loop, self._leave))
        except Exception as error:
            tell(self._status, error)
            self.broken = True
            self._end_if_empty()
        else:
            self._status.send(b'{"ready":true}')

    def _leave(self, lab: Lab) -> None:
        self._labs.discard(lab)
        lab.close()
        self._be_in_none()
        self._end_if_empty()

    def _be_in_none(self) -> None:
        self._base.be_here()
        self.loop.be_in_none()

    def _end_if_empty(self) -> None:
        if not self._labs:
            self.loop.unwatch(self._status.fileno())
            self.loop.close()
            self.loop.end()


class Lab:
    """The namespaces of a lab, and the agents of its nodes; `over` is called when the host has hung up on them."""

    def __init__(self, asked: bytes, fds: Sequence[int], base: Base, loop: Loop, over: Callable[[Lab], None]) -> None:
        spec: Spec = json.loads(asked)
        self._mounts = private_mounts(spec["etc"], base)
        networks = make_namespaces(spec["nodes"], base.network)
        known = neighbours(spec)
        build(spec, networks, known)
        for network in networks.values():
            network.netlink.close()
        self._pids = _opened("pid")
        self._places = [
            Place(name, known[name], network.fd, self._mounts, self._pids, base) for name, network in networks.items()
        ]
        (line,) = fds
        self._host = Host(line, loop, lambda: over(self))
        for name, place in zip(networks, self._places, strict=True):
            Agent(name, self._host, loop, place)

    def close(self) -> None:
        """Let go of all of it."""
        self._host.close()
        for place in self._places:
            place.close()
        os.close(self._mounts)
        os.close(self._pids)


def private_mounts(etc: dict[str, str], base: Base) -> int:
    """A mount namespace with a tmpfs on /run, which hides the host's name services; its descriptor.

    etc: files of /etc that say how names are looked up, by name.
    """
    mounts = base.copy_mounts()
    kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=64m")
    os.mkdir(RUN)
    for name, text in etc.items():
        _replace(f"/etc/{name}", f"{RUN}/{name}", text)
    return mounts


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


def neighbours(spec: Spec) -> dict[str, list[Neighbour]]:
    """Of each node, whom its links lead to."""
    found: dict[str, list[Neighbour]] = {node["name"]: [] for node in spec["nodes"]}
    for link in spec["links"]:
        on_link = [route["destination"] for route in _routes(spec, link["node"]) if route["via"] is None]
        addresses = [*(address for address, _ in link["hub_addresses"]), *on_link]
        found[link["node"]] = [(address, "eth0") for address in dict.fromkeys(addresses)]
        if not spec["bridged"]:
            found[link["hub"]] += [(address, link["hub_interface"]) for address, _ in link["addresses"]]
    return found


def _routes(spec: Spec, node: str) -> list[RouteSpec]:
    return [route for route in spec["routes"] if route["node"] == node]


def build(spec: Spec, networks: Mapping[str, Network], known: Mapping[str, Sequence[Neighbour]]) -> None:
    """Links, addresses, the wire's device, the routes and whom nodes will know: few messages to each namespace."""
    hub = networks[spec["links"][0]["hub"]]
    kernel.setns(hub.fd, kernel.CLONE_NEWNET)
    with hub.netlink.together():
        _build_hub(hub.netlink, spec, networks)
    for link in spec["links"]:
        netlink = networks[link["node"]].netlink
        with netlink.together():
            _build_node(netlink, link, _routes(spec, link["node"]))
            reserve(netlink, known[link["node"]])
    with hub.netlink.together():  # when both ends are up: a link that loses its carrier loses its neighbours
        reserve(hub.netlink, known[link["hub"]])
    hub.netlink.await_carriers([link["hub_interface"] for link in spec["links"]])
    hub.netlink.await_addresses([address for link in spec["links"] for address, _ in link["hub_addresses"]])
    for link in spec["links"]:
        networks[link["node"]].netlink.await_addresses([address for address, _ in link["addresses"]])


def _build_hub(netlink: Netlink, spec: Spec, networks: Mapping[str, Network]) -> None:
    netlink.set_up(LOOPBACK)
    if spec["bridged"]:
        netlink.bridge("bridge0")
    for link in spec["links"]:
        _build_hub_side(netlink, link, networks[link["node"]], bridged=spec["bridged"] is not None)
    if spec["wire"]:
        build_wire(netlink, [link["hub_interface"] for link in spec["links"]], spec["families"])


def reserve(netlink: Netlink, known: Sequence[Neighbour]) -> None:
    """Have room for all of these in the host's tables, whoever else is there (chaos/neighbours.py)."""
    for address, interface in known:
        netlink.reserve_neighbour(address, interface)


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


class Place:
    """A node's namespaces (serve.Home): the network's, and its mounts, which are the lab's until it has its own."""

    def __init__(self, name: str, known: Sequence[Neighbour], network: int, mounts: int, pids: int, base: Base) -> None:
        self.neighbours = known
        self._name, self._network, self._pids, self._base = name, network, pids, base
        self._mounts = self._of_the_lab = mounts

    def enter(self) -> None:
        kernel.setns(self._network, kernel.CLONE_NEWNET)
        self._base.be_among(self._mounts)

    def settle(self) -> None:
        kernel.own_hostname(self._name)

    def doors(self) -> list[int]:
        return [self._pids, self._network, self._mounts]

    def separate(self) -> None:
        """From now on /etc/hosts of this node, which this process is in, is its own."""
        if self._mounts == self._of_the_lab:
            self._mounts = self._base.copy_mounts()
            with open("/etc/hosts", encoding="ascii") as file:
                _replace("/etc/hosts", f"{RUN}/hosts.{self._name}", file.read())

    def close(self) -> None:
        """Let go of them."""
        os.close(self._network)
        if self._mounts != self._of_the_lab:
            os.close(self._mounts)
