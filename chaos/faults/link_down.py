"""`link-down {at}`: a node's interface is down: no carrier, no routes by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._seen import way_to
from chaos.fields import NodeName
from chaos.model import ROUTER, Lab, Setting

GIVES_UP = 3.06
"""Seconds of three ARP requests a second apart, and a jiffy or more for each (arp(7); net/core/neighbour.c)."""
NO_ROUTE = {"ipv4": "icmp:3/0", "ipv6": "icmp:1/0"}
HOST_UNREACHABLE = {"ipv4": "icmp:3/1", "ipv6": "icmp:1/3"}


@dataclass(frozen=True)
class LinkDown:
    """The interface of a node is down; its routes and addresses come back afterwards.

    Wire: at the client nothing is sent; behind a router SYNs enter it and none leaves, and ARP goes unanswered.
    By hand: `ip link set eth0 down`
    Linux: at the client connect() fails with ENETUNREACH at once; far away with ETIMEDOUT after the SYN schedule, or
        with EHOSTUNREACH where the router gives the neighbour up first.
    Imitates: a cable pulled; an interface that flaps; a virtual machine that was paused or moved.
    """

    requires: ClassVar[tuple[str, ...]] = ()

    at: NodeName

    def effect(self, setting: Setting) -> Effect:
        """At the client no route is left; behind a router the neighbour is lost."""
        says = f"the link of {self.at} is down"
        if self.at == setting.client:
            return Effect(f"{says}: no route is left", self.at, errno="ENETUNREACH")
        if self.at == ROUTER:
            return Effect(f"{says}: it has no way to the target", ROUTER, ("> syn",), NO_ROUTE[setting.family])
        if self.at == setting.target.node and setting.path == "routed":
            answer = HOST_UNREACHABLE[setting.family]
            says += f": the router looks for it in vain, and would say so by ICMP after {GIVES_UP:g} s"
            return Effect(says, ROUTER, ("> syn",), answer, delay=GIVES_UP)
        return Effect(says, self.at, ("> syn",) if self.at == setting.target.node else ())

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        node, way = lab.nodes[self.at], way_to(lab, self.at)
        interface = node.interface if self.at != ROUTER else lab.link(ROUTER, lab.setting.target.node)
        carrier = node.call("link", do="down", interface=interface)

        def hits() -> int:
            sent = len(way.to_end(lab.packets(way.dialler), "syn"))
            if self.at == lab.setting.client:
                return 1  # the attempt, which has returned
            heard = len(way.to_end(lab.packets(way.node), "syn"))
            return max(0, sent - heard)

        def doubt(evidence: Evidence) -> str | None:
            if carrier:
                return f"{interface} of {self.at!r} has a carrier"
            left = evidence.packets[evidence.client] if self.at == evidence.client else ()
            return f"{len(left)} packets left the client all the same" if left else None

        try:
            yield Touching(hits, doubt)
        finally:
            node.call("link", do="up", interface=interface)
