"""`no-neighbour {at, of?, every?}`: ARP or neighbour discovery goes unanswered (RFC 826, RFC 4861)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._ip import changed
from chaos.faults._neighbours import hardware_address, pinned, state
from chaos.faults._rules import FIREWALL, armed
from chaos.faults._sysctls import written
from chaos.fields import Duration, NodeName
from chaos.model import ROUTER, Lab, Node, Setting

SOLICITATIONS = 3
LEAST = 0.02
HOST_UNREACHABLE = {"ipv4": "icmp:3/1", "ipv6": "icmp:1/3"}
TABLES = {"ipv4": "arp_cache", "ipv6": "ndisc_cache"}


@dataclass(frozen=True)
class NoNeighbour:
    """Nobody answers for the next hop's address on the link; warm entries are flushed first.

    Three requests, 100 ms apart, end before the second SYN would. With the kernel's own second between them they end
    no sooner than a SYN schedule of 3 s.

    Wire: ARP requests or neighbour solicitations without an answer; no SYN leaves `at`.
    By hand: `sysctl -w net.ipv4.conf.eth0.arp_ignore=8` at the neighbour, `ip neigh flush all` at `at`
    Linux: connect() fails with EHOSTUNREACH when the requests have been given up, at a router by ICMP; with ETIMEDOUT
        where the SYN schedule ends first.
    Imitates: a host that is switched off on the client's own network; a wrong VLAN; a stale address in DNS.
    """

    requires: ClassVar[tuple[str, ...]] = ("program:ip", *FIREWALL)

    at: NodeName
    of: NodeName | None = None
    every: Annotated[Duration, Field(description="between two requests; the kernel's default is 1s")] = 0.1

    def needs(self, setting: Setting) -> tuple[str, ...]:
        """Of `requires`: over IPv4 a sysctl silences the neighbour, and no firewall."""
        return self.requires if setting.family == "ipv6" else ("program:ip",)

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """A neighbour is the other end of a link: a node's is the router."""
        if setting.path == "routed" and ROUTER not in (self.at, self._owner(setting)):
            yield "of", f"on a routed path the neighbour of {self.at!r} is the router"
        if self.every < LEAST:
            yield "every", f"expected {LEAST * 1000:g} ms or more: the kernel counts in ticks"

    def _owner(self, setting: Setting) -> str:
        if self.of:
            return self.of
        if self.at == ROUTER:
            return setting.target.node
        if setting.path == "routed":
            return ROUTER
        return setting.client if self.at == setting.target.node else setting.target.node

    def effect(self, setting: Setting) -> Effect:
        """The next hop has no link-layer address."""
        waits, kind = self.every * SOLICITATIONS, {"ipv4": "ARP", "ipv6": "neighbour discovery"}[setting.family]
        says = f"{self._owner(setting)} does not answer {kind} at {self.at}, which gives up after {waits:g} s"
        if self.at == setting.client:
            return Effect(says, self.at, errno="EHOSTUNREACH", delay=waits)
        if self.at == ROUTER and self._owner(setting) == setting.target.node:
            return Effect(
                f"{says} and says so by ICMP", ROUTER, ("> syn",), HOST_UNREACHABLE[setting.family], delay=waits
            )
        return Effect(says, self.at, ("< syn-ack", "< ack", "< data"))

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        owner, asker, family = self._owner(lab.setting), lab.nodes[self.at], lab.setting.family
        end = owner if self.at == ROUTER else self.at
        near, far = lab.link(self.at, end), lab.link(owner, end)
        address = lab.link_address(owner, end)
        with ExitStack() as undo:
            undo.enter_context(_mute(lab.nodes[owner], far, family))
            undo.enter_context(_paced(asker, near, family, self.every))
            if self.at not in (ROUTER, lab.setting.client):  # who asks for a node tells it where the answer is to go
                mac = hardware_address(asker, near)
                undo.enter_context(pinned(lab.nodes[owner], lab.link_address(self.at, end), far, mac))
            asker.call("quiesce")

            def hits() -> int:
                packets = [it for it in lab.packets(end) if it.target == address and it.protocol in ("arp", "nd")]
                answered = any(packet.operation == "reply" for packet in packets)
                return 0 if answered else len(packets)

            def doubt(evidence: Evidence) -> str | None:
                return None if entry in ("FAILED", "INCOMPLETE", "gone") else f"the neighbour entry is {entry}"

            entry = "unread"

            def count() -> int:
                nonlocal entry
                entry = state(asker, address, near)
                return hits()

            yield Touching(count, doubt)


@contextmanager
def _mute(node: Node, interface: str, family: str) -> Iterator[None]:
    """The owner of an address does not answer for it: arp_ignore=8, or its firewall drops solicitations."""
    if family == "ipv6":
        rule = ("INPUT", "-i", interface, "-p", "icmpv6", "--icmpv6-type", "neighbour-solicitation", "-j", "DROP")
        with armed(node, family, [rule]):
            yield
        return
    with written(node, {f"net/ipv4/conf/{interface}/arp_ignore": "8"}):
        yield


def _paced(node: Node, interface: str, family: str, every: float) -> AbstractContextManager[None]:
    """Ask again after so many seconds, not one; `ip ntable`, as /proc has no neigh/ in a user's own namespace."""
    table = ["ntable", "change", "name", TABLES[family], "dev", interface]
    paced = [*table, "retrans", f"{every * 1000:.0f}", "mcast_probes", str(SOLICITATIONS)]
    return changed(node, paced, [*table, "retrans", "1000", "mcast_probes", "3"])
