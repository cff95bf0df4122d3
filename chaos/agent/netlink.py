"""Just enough rtnetlink(7) to build a lab: links, addresses, routes, rules, neighbours; one request at a time.

The sender's network namespace is the one that is changed, so open a `Netlink` after setns(2).
Layouts: include/uapi/linux/{netlink,rtnetlink,if_link,if_addr,fib_rules,neighbour}.h.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

SOL_NETLINK, NETLINK_GET_STRICT_CHK = 270, 12
NLM_F_REQUEST, NLM_F_ACK, NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x1, 0x4, 0x100, 0x200, 0x400, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
HEADER, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
NEIGHBOUR = struct.Struct("=BBHiHBB")
FLAGS, ERROR = struct.Struct("=H"), struct.Struct("=i")
BUFFER = 1 << 14
"""Bytes of a read: the kernel makes its answers to a dump as large as it has seen us read (af_netlink.c)."""

RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 16, 18, 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWRULE = 28, 29, 30, 32

IFF_UP, IFF_NOARP = 0x1, 0x80
IFLA_IFNAME, IFLA_MASTER, IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_AF_SPEC, IFLA_NET_NS_FD = 3, 10, 16, 18, 26, 28
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IF_OPER_UP = 6
READY, LOOK = 1.0, 0.001
"""Seconds: for a link to get its carrier and a node its addresses, and between two looks."""
IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE = 8, 1
IFLA_INET_CONF, IPV4_DEVCONF_ACCEPT_LOCAL = 1, 23
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL, IFA_F_NODAD = 1, 2, 0x02
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE = 1, 4, 5, 6, 15
METRIC = 1024
LOOPBACK, LOOPBACK_NUMBER = "lo", 1
RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RTN_UNICAST, RTN_LOCAL = 254, 4, 0, 253, 1, 2
RTM_F_CLONED, RTNH_F_ONLINK = 0x200, 0x4
FRA_IIFNAME, FRA_TABLE, FR_ACT_TO_TBL = 3, 15, 1
NDA_DST, NUD_NONE, NUD_NOARP, NUD_PERMANENT, NTF_EXT_LEARNED = 1, 0, 0x40, 0x80, 0x10


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """One `struct rtattr` with its padding: text gets its NUL, a number is 32 bits."""
    if isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, int):
        value = struct.pack("=I", value)
    return ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of a message's tail, by kind; of a repeated kind the last."""
    return dict(_attributes(data))


def elements(data: bytes) -> Iterator[bytes]:
    """The values of a list, whose attributes are of one kind."""
    return (value for _, value in _attributes(data))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        size, kind = ATTRIBUTE.unpack_from(data, at)
        if size < 4:
            break
        yield kind & 0x3FFF, data[at + 4 : at + size]
        at += (size + 3) & ~3


def parsed(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence number, payload) of the netlink messages of one read."""
    while len(data) >= 16:
        size, kind, _, sequence, _ = HEADER.unpack_from(data)
        yield kind, sequence, data[16:size]
        data = data[(size + 3) & ~3 :]


def packed(address: str) -> tuple[int, bytes]:
    """An address as (family, bytes)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


NO_LINK_LOCAL = attribute(socket.AF_INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE])))
ACCEPTS_LOCAL = attribute(socket.AF_INET, attribute(IFLA_INET_CONF, attribute(IPV4_DEVCONF_ACCEPT_LOCAL, 1)))
ONE_QUEUE = attribute(IFLA_NUM_TX_QUEUES, 1) + attribute(IFLA_NUM_RX_QUEUES, 1)
"""Of a link. A veth pair has one a processor otherwise, and uses one: each end waits for RCU to give the others up, and
has the lock of all network namespaces meanwhile (drivers/net/veth.c, veth_init_queues())."""


class Netlink:
    """A netlink socket of the caller's network namespace. Kernel refusals are OSError, naming the request.

    new: the namespace is new. This one numbers all links that are made in it, and need not ask for their numbers, so
    that what concerns them can go along with what makes them.
    """

    def __init__(self, protocol: int = socket.NETLINK_ROUTE, *, new: bool = False) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        with contextlib.suppress(OSError):  # Linux 4.20; older ones dump more than was asked for
            self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        self._sequence = 0
        self._numbers = {LOOPBACK: LOOPBACK_NUMBER} if new else {}
        self._new = new
        self._together: list[tuple[bytes, str]] | None = None

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _message(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        return HEADER.pack(16 + len(body), kind, NLM_F_REQUEST | flags, self._sequence, 0) + body

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._flush()
        self._socket.send(self._message(kind, flags, body))

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        """The answers to the last request that one read brings."""
        for kind, sequence, payload in parsed(self._socket.recv(BUFFER)):
            if sequence == self._sequence:
                yield kind, payload

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is requested inside goes to the kernel in few messages, and is done when this ends."""
        self._together = []
        try:
            yield
            self._flush()
        finally:
            self._together = None

    def request(self, kind: int, body: bytes, flags: int = 0, what: str = "") -> None:
        """Send one request and wait for its acknowledgement; within `together`, later."""
        message, what = self._message(kind, flags, body), what or f"netlink request {kind}"
        if self._together is None:
            self._await([(message, what)])
        else:
            self._together.append((message, what))

    def _flush(self) -> None:
        if self._together:
            requests, self._together = self._together, []
            self._await(requests)

    def _await(self, requests: Sequence[tuple[bytes, str]]) -> None:
        """Send them as one message. The kernel takes them in order, and acknowledges the last and what it refuses."""
        last = bytearray(requests[-1][0])
        FLAGS.pack_into(last, 6, FLAGS.unpack_from(last, 6)[0] | NLM_F_ACK)
        self._socket.send(b"".join([*(message for message, _ in requests[:-1]), last]))
        first = self._sequence - len(requests) + 1
        while True:
            for kind, sequence, payload in parsed(self._socket.recv(BUFFER)):
                if kind == NLMSG_ERROR and sequence >= first:
                    number = -ERROR.unpack_from(payload)[0]
                    if number:
                        raise OSError(number, f"{requests[sequence - first][1]}: {os.strerror(number)}")
                    if sequence == self._sequence:
                        return

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Every object of a dump request, without its netlink header."""
        self._send(kind, NLM_F_DUMP, body)
        while True:
            for answer, payload in self._messages():
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    number = -ERROR.unpack_from(payload)[0]
                    raise OSError(number, f"netlink dump {kind}: {os.strerror(number)}")
                yield payload

    def number(self, name: str) -> int:
        """The number (index) of an interface. Raises OSError when there is none of this name."""
        if name not in self._numbers:
            self._flush()
            self._numbers[name] = socket.if_nametoindex(name)
        return self._numbers[name]

    def numbered(self, name: str) -> int:
        """The number that a link gets which is about to be made; 0: which the kernel chooses."""
        return self._numbers.setdefault(name, len(self._numbers) + 1) if self._new else 0

    # -- links

    def veth(self, name: str, peer: str, there: tuple[int, Netlink] | None = None, *, arp: bool = True) -> None:
        """Create a veth pair, the peer in place `there`: in another namespace, by its descriptor and its Netlink. This
        end is up, the peer is not.

        veth_open() wants both ends (drivers/net/veth.c), so a pair cannot be created up.
        """
        number = (there[1] if there else self).numbered(peer)
        far = _ifinfo(number, 0, 0) + attribute(IFLA_IFNAME, peer) + ONE_QUEUE
        if there is not None:
            far += attribute(IFLA_NET_NS_FD, there[0])
        info = attribute(IFLA_INFO_KIND, "veth") + attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, far))
        self._new_link(name, 0 if arp else IFF_NOARP, attribute(IFLA_LINKINFO, info) + ONE_QUEUE)

    def bridge(self, name: str) -> None:
        """Create a bridge, up."""
        self._new_link(name, 0, attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, "bridge")))

    def _new_link(self, name: str, flags: int, extra: bytes) -> None:
        body = _ifinfo(self.numbered(name), flags, flags) + attribute(IFLA_IFNAME, name) + extra
        self.request(RTM_NEWLINK, body, NLM_F_CREATE | NLM_F_EXCL, f"ip link add {name}")
        self.set_up(name)

    def set_up(self, name: str) -> None:
        """ip link set NAME addrgenmode none; ip link set NAME up: no link-local address but those that are given.

        The sysctl addr_gen_mode says the same, and spins for the lock of all namespaces (kernel.write_sysctl).
        """
        number = self.number(name)
        if name != LOOPBACK:
            self._configure(name, NO_LINK_LOCAL, "addrgenmode none")
        self.request(RTM_NEWLINK, _ifinfo(number, IFF_UP, IFF_UP), what=f"ip link set {name} up")

    def accept_local(self, name: str) -> None:
        """sysctl net.ipv4.conf.NAME.accept_local=1."""
        self._configure(name, ACCEPTS_LOCAL, "accept_local")

    def _configure(self, name: str, family: bytes, what: str) -> None:
        body = _ifinfo(self.number(name), 0, 0) + attribute(IFLA_AF_SPEC, family)
        self.request(RTM_NEWLINK, body, what=f"ip link set {name} {what}")

    def await_carriers(self, names: Sequence[str]) -> None:
        """Return when these links can send; OSError (ETIMEDOUT) when one cannot within a second.

        The end that came up before its peer is given its queue by a worker of the kernel later (net/core/link_watch.c),
        and loses until then what it should send: the first ARP request, and the next comes a second later. To ask for
        the link has the kernel do it at once (rtnl_getlink(), since Linux 6.8); an older one is asked again.
        """
        self._await_all(names, self._without_carrier, "ip link show {}: no carrier")

    def _without_carrier(self, names: Sequence[str]) -> list[str]:
        """Those whose operational state (RFC 2863) is not "up"."""
        links = self._ask(RTM_GETLINK, [_ifinfo(self.number(name), 0, 0) for name in names])
        states = [attributes(link[16:])[IFLA_OPERSTATE][0] for _, link in links]
        return [name for name, state in zip(names, states, strict=True) if state != IF_OPER_UP]

    def await_addresses(self, addresses: Sequence[str]) -> None:
        """Return when what is sent to these addresses of ours reaches us; OSError (ETIMEDOUT) when it does not within a
        second.

        Without detection of duplicates, too, a worker of the kernel makes an IPv6 address ours later: it joins the
        group to which neighbours' solicitations go, and adds the local route (net/ipv6/addrconf.c,
        addrconf_dad_work()). Until then a solicitation has no answer, and an answer no recipient: the next SYN comes
        a second later.
        """
        six = [address for address in addresses if packed(address)[0] == socket.AF_INET6]
        self._await_all(six, self._not_local, "ip route get {}: not local")

    def _not_local(self, addresses: Sequence[str]) -> list[str]:
        """Those for which the kernel has another route than to this node, or none."""
        routes = self._ask(RTM_GETROUTE, [_lookup(address) for address in addresses])
        local = [kind == RTM_NEWROUTE and route[7] == RTN_LOCAL for kind, route in routes]
        return [address for address, ours in zip(addresses, local, strict=True) if not ours]

    def _await_all(self, names: Sequence[str], missing: Callable[[Sequence[str]], list[str]], what: str) -> None:
        deadline = time.monotonic() + READY
        while names and (names := missing(names)):
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"{what.format(names[0])} within {READY:g} s")
            time.sleep(LOOK)

    def _ask(self, kind: int, questions: Sequence[bytes]) -> list[tuple[int, bytes]]:
        """The type and the payload of the answer to each of several questions, which are sent as one message."""
        self._flush()
        first = self._sequence + 1
        self._socket.send(b"".join(self._message(kind, 0, question) for question in questions))
        answers: list[tuple[int, bytes]] = []
        while len(answers) < len(questions):
            told = parsed(self._socket.recv(BUFFER))
            answers += [(answer, payload) for answer, sequence, payload in told if sequence >= first]
        return answers

    def set_master(self, name: str, master: str) -> None:
        """ip link set NAME master MASTER."""
        body = _ifinfo(self.number(name), 0, 0) + attribute(IFLA_MASTER, self.number(master))
        self.request(RTM_NEWLINK, body, what=f"ip link set {name} master {master}")

    # -- addresses, routes, rules

    def address(self, interface: str, address: str, prefix: int) -> None:
        """ip address add ADDRESS/PREFIX dev INTERFACE nodad."""
        family, raw = packed(address)
        body = struct.pack("=BBBBI", family, prefix, IFA_F_NODAD, 0, self.number(interface))
        body += attribute(IFA_LOCAL, raw) + attribute(IFA_ADDRESS, raw)
        self.request(RTM_NEWADDR, body, NLM_F_CREATE | NLM_F_EXCL, f"ip address add {address} dev {interface}")

    def flush_addresses(self, interface: str) -> None:
        """ip address flush dev INTERFACE: its connected routes, and those through it by a gateway, go too."""
        index = self.number(interface)
        for entry in list(self.dump(RTM_GETADDR, struct.pack("=BBBBI", socket.AF_UNSPEC, 0, 0, 0, 0))):
            if struct.unpack_from("=I", entry, 4)[0] == index:
                with contextlib.suppress(OSError):  # a secondary address goes with its primary
                    self.request(RTM_DELADDR, entry, what=f"ip address flush dev {interface}")

    def flush_routes(self, interface: str) -> None:
        """ip route flush table main dev INTERFACE, in both families."""
        index = struct.pack("=I", self.number(interface))
        for family in (socket.AF_INET, socket.AF_INET6):
            for entry in list(self.dump(RTM_GETROUTE, struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0))):
                if entry[4] == RT_TABLE_MAIN and attributes(entry[12:]).get(RTA_OIF) == index:
                    with contextlib.suppress(ProcessLookupError):  # ESRCH: it went with another
                        self.request(RTM_DELROUTE, entry, what=f"ip route flush dev {interface}")

    def route(self, destination: str, interface: str, *, via: str | None = None) -> None:
        """ip route add DESTINATION (one host) [via VIA] dev INTERFACE metric 1024.

        The metric leaves room in front: a fault's route is added beside it and wins.
        """
        family, raw = packed(destination)
        scope = RT_SCOPE_UNIVERSE if via or family == socket.AF_INET6 else RT_SCOPE_LINK
        body = _route(family, len(raw) * 8, RT_TABLE_MAIN, scope) + attribute(RTA_OIF, self.number(interface))
        body += attribute(RTA_PRIORITY, METRIC) + attribute(RTA_DST, raw)
        if via:
            body += attribute(RTA_GATEWAY, packed(via)[1])
        self.request(RTM_NEWROUTE, body, NLM_F_CREATE | NLM_F_EXCL, f"ip route add {destination} dev {interface}")

    def default_route(self, via: str, interface: str, table: int) -> None:
        """ip route add default via VIA dev INTERFACE onlink table TABLE."""
        family, raw = packed(via)
        body = _route(family, 0, table, RT_SCOPE_UNIVERSE, RTNH_F_ONLINK) + attribute(RTA_OIF, self.number(interface))
        what = f"ip route add default via {via} dev {interface} table {table}"
        self.request(RTM_NEWROUTE, body + attribute(RTA_GATEWAY, raw), NLM_F_CREATE | NLM_F_EXCL, what)

    def permanent_neighbour(self, address: str, interface: str) -> None:
        """ip neighbour add ADDRESS dev INTERFACE nud permanent, on a link without ARP, whose own address it gets.

        One that is permanent takes no room in the table (chaos/neighbours.py).
        """
        body = self._neighbour(address, interface, NUD_PERMANENT)
        self.request(RTM_NEWNEIGH, body, NLM_F_CREATE | NLM_F_EXCL, f"ip neighbour add {address} dev {interface}")

    def reserve_neighbour(self, address: str, interface: str) -> None:
        """An entry for a neighbour of which nothing is known: it is asked for, and found or not, as any other.

        That it is marked as managed by somebody else is all that differs: like a permanent one it takes no room in the
        table, and the kernel does not drop it when there are many (net/core/neighbour.c, neigh_alloc(); Linux 5.0).
        """
        body = self._neighbour(address, interface, NUD_NONE, NTF_EXT_LEARNED)
        what = f"ip neighbour replace {address} dev {interface} nud none extern_learn"
        self.request(RTM_NEWNEIGH, body, NLM_F_CREATE | NLM_F_REPLACE, what)

    def forget_neighbours(self, reserved: Sequence[tuple[str, str]]) -> None:
        """Have entries, by address and interface, as they were when they were reserved."""
        with contextlib.suppress(FileNotFoundError), self.together():  # it went with its link's carrier
            for address, interface in reserved:
                body = self._neighbour(address, interface, NUD_NONE)
                self.request(RTM_DELNEIGH, body, what=f"ip neighbour del {address} dev {interface}")
                self.reserve_neighbour(address, interface)

    def _neighbour(self, address: str, interface: str, state: int, flags: int = 0) -> bytes:
        family, raw = packed(address)
        return NEIGHBOUR.pack(family, 0, 0, self.number(interface), state, flags, RTN_UNICAST) + attribute(NDA_DST, raw)

    def flush_exceptions(self) -> None:
        """ip -6 route flush cache: forget every path MTU (and redirect) that was learnt over IPv6.

        Writing net.ipv6.route.flush ends only what has expired (net/ipv6/route.c, rt6_age_examine_exception).
        """
        request = struct.pack("=BBBBBBBBI", socket.AF_INET6, 0, 0, 0, 0, 0, 0, 0, RTM_F_CLONED)
        for entry in list(self.dump(RTM_GETROUTE, request)):
            if struct.unpack_from("=I", entry, 8)[0] & RTM_F_CLONED:
                with contextlib.suppress(ProcessLookupError):  # ESRCH: it went by itself
                    self.request(RTM_DELROUTE, entry, what="ip -6 route flush cache")

    def rule(self, interface: str, table: int, *, six: bool) -> None:
        """ip [-6] rule add iif INTERFACE lookup TABLE."""
        family = socket.AF_INET6 if six else socket.AF_INET
        body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, table, 0, 0, FR_ACT_TO_TBL, 0)
        body += attribute(FRA_IIFNAME, interface) + attribute(FRA_TABLE, table)
        self.request(RTM_NEWRULE, body, NLM_F_CREATE | NLM_F_EXCL, f"ip rule add iif {interface} lookup {table}")

    def flush_neighbours(self, family: int) -> None:
        """ip -4 (or -6) neighbour flush all: forget every ARP (ND) entry that can be forgotten."""
        entries = list(self.dump(RTM_GETNEIGH, NEIGHBOUR.pack(family, 0, 0, 0, 0, 0, 0)))
        with contextlib.suppress(FileNotFoundError), self.together():  # of one the kernel was quicker
            for entry in entries:
                _, _, _, _, state, _, _ = NEIGHBOUR.unpack_from(entry)
                if state & (NUD_NOARP | NUD_PERMANENT):
                    continue  # nobody's memory
                address = attributes(entry[12:]).get(NDA_DST)
                if address is not None:
                    self.request(RTM_DELNEIGH, entry[:12] + attribute(NDA_DST, address), what="ip neighbour del")


def _route(family: int, length: int, table: int, scope: int, flags: int = 0) -> bytes:
    return struct.pack("=BBBBBBBBI", family, length, 0, 0, table, RTPROT_STATIC, scope, RTN_UNICAST, flags)


def _lookup(address: str) -> bytes:
    family, raw = packed(address)
    return struct.pack("=BBBBBBBBI", family, len(raw) * 8, 0, 0, 0, 0, 0, 0, 0) + attribute(RTA_DST, raw)


def _ifinfo(index: int, flags: int, change: int) -> bytes:
    return struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, index, flags, change)
