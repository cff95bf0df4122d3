"""`asymmetric-route {at}`: the way back leads elsewhere, and a strict filter drops what comes (RFC 3704)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.counters import count
from chaos.effect import Effect
from chaos.faults._armed import Touching
from chaos.faults._neighbours import hardware_address, pinned
from chaos.faults._routes import nowhere
from chaos.faults._rules import FIREWALL, armed
from chaos.faults._seen import way_to
from chaos.faults._sysctls import written
from chaos.fields import NodeName
from chaos.model import ROUTER, Lab, Node, Setting

COUNTER = "TcpExtIPReversePathFilter"


@dataclass(frozen=True)
class AsymmetricRoute:
    """A node's route back to the client is by another interface, so that its filter takes the source for a forged one.

    Wire: the SYN arrives, and is dropped without a word.
    By hand: `sysctl -w net.ipv4.conf.eth0.rp_filter=1; ip route replace CLIENT dev other0`
    Linux: connect() fails with ETIMEDOUT after the SYN schedule; IPReversePathFilter counts. IPv6 has no such sysctl:
        there it is `ip6tables -t raw -A PREROUTING -m rpfilter --invert -j DROP`, as firewalld has it.
    Imitates: a host with two uplinks, a wrong source address, a VPN's routes, two routers that do not agree.
    """

    requires: ClassVar[tuple[str, ...]] = ("program:ip", *FIREWALL, "match:rpfilter")

    at: NodeName

    def needs(self, setting: Setting) -> tuple[str, ...]:
        """Of `requires`: over IPv4 a sysctl filters, and no firewall."""
        return self.requires if setting.family == "ipv6" else ("program:ip",)

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """Who filters is somebody that the SYN comes to."""
        if self.at == setting.client:
            yield "at", f"a SYN comes to {setting.target.node!r} or to the router, and not to who sends it"

    def effect(self, setting: Setting) -> Effect:
        """Silence to a SYN."""
        says = f"at {self.at} the way back to the client is by another interface: its reverse path filter drops the SYN"
        return Effect(says, self.at, ("> syn",) if self.at in (ROUTER, setting.target.node) else ())

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node, client = lab.nodes[self.at], lab.nodes[lab.setting.client]
        interface = lab.link(self.at, lab.setting.client if self.at == ROUTER else self.at)
        with ExitStack() as undo:
            if self.at == ROUTER or lab.setting.path == "direct":  # its ARP request would fall to the filter first
                address, mac = lab.link_address(self.at, client.name), hardware_address(node, interface)
                undo.enter_context(pinned(client, address, client.interface, mac))
            undo.enter_context(nowhere(node, client.address))
            yield Touching(undo.enter_context(_filtering(lab, node, interface)))


@contextmanager
def _filtering(lab: Lab, node: Node, interface: str) -> Iterator[Callable[[], int]]:
    """Strict reverse path filtering at an interface; yields what tells how many SYNs it has dropped."""
    if lab.setting.family == "ipv6":
        rule = ("PREROUTING", "-i", interface, "-p", "tcp", "--syn", "-m", "rpfilter", "--invert", "-j", "DROP")
        with armed(node, "ipv6", [rule], table="raw") as rules:
            yield rules.hits
        return
    way = way_to(lab, lab.setting.target.node)
    with written(node, {f"net/ipv4/conf/{interface}/rp_filter": "1"}):
        before = count(node, COUNTER)
        yield lambda: min(count(node, COUNTER) - before, len(way.to_end(lab.packets(way.dialler), "syn")))
