"""`duplicate-address {at, by}`: another host on the link has the same address (RFC 5227; RFC 4862, 5.4)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import ClassVar

from chaos.effect import Effect
from chaos.evidence import Evidence
from chaos.faults._armed import Touching
from chaos.faults._ip import changed
from chaos.faults._neighbours import entry, hardware_address
from chaos.faults._seen import way_to
from chaos.faults._sysctls import written
from chaos.fields import NodeName
from chaos.model import ROUTER, Lab, Node, Setting

QUICK = 5.0
"""Seconds within which a neighbour is found, and a duplicate detected; both take milliseconds."""


@dataclass(frozen=True)
class DuplicateAddress:
    """`by` takes the address of `at` on their link: the client's segments go to it, and its kernel refuses them.

    Wire: the SYN goes to the wrong host, which answers with a RST: it has no such listener.
    By hand: `ip address add SERVER/32 dev eth0; arping -U -I eth0 SERVER` on the other host
    Linux: connect() fails with ECONNREFUSED. IPv4: who announced itself last has the traffic. IPv6: who came second
        detects the other, and its address is `dadfailed`: unusable, until somebody removes it.
    Imitates: a cloned machine, two DHCP servers, a virtual address that two hosts of a cluster believe to own.
    """

    requires: ClassVar[tuple[str, ...]] = ("program:ip",)

    at: NodeName
    by: NodeName

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """They must share a link, with the client."""
        if setting.path == "routed":
            yield "at", "on a routed path each node has a link of its own; say `path: direct`"
        if self.by in (ROUTER, self.at, setting.client):
            yield "by", f"a third host must take the address of {self.at!r}"

    def effect(self, setting: Setting) -> Effect:
        """A RST from the wrong host."""
        says = f"{self.by} has the address of {self.at} too, and the client's segments go to it: nobody listens, a RST"
        return Effect(says, self.at, ("> syn",) if self.at == setting.target.node else (), "rst")

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        owner, thief, way = lab.nodes[self.at], lab.nodes[self.by], way_to(lab, self.at)
        address = owner.address
        with ExitStack() as undo:
            take = _detected if ":" in address else _announced
            undo.enter_context(take(lab, owner, thief))
            mine = hardware_address(thief, thief.interface)

            def hits() -> int:
                stolen = [it for it in lab.packets(self.by) if it.dst == address and not it.outgoing]
                return len(way.to_end(stolen, "syn"))

            def doubt(evidence: Evidence) -> str | None:
                return None if known == mine else f"the client takes {known} for {self.at}, and not {mine} of {self.by}"

            known = ""

            def count() -> int:
                nonlocal known
                dialler = lab.nodes[way.dialler]
                known = str((entry(dialler, address, dialler.interface) or {}).get("lladdr"))
                return hits()

            yield Touching(count, doubt)


@contextmanager
def _announced(lab: Lab, owner: Node, thief: Node) -> Iterator[None]:
    """IPv4: the client knows the owner; then the thief takes the address, and announces it as who comes up does."""
    client, where = lab.nodes[lab.setting.client], [owner.address, "dev", lab.nodes[lab.setting.client].interface]
    client.call("command", argv=["ip", "neigh", "replace", *where, "use"])
    lab.wait(lambda: _known(client, owner.address) != "", f"{client.name} to find {owner.address}", QUICK)
    with _held(thief, f"{owner.address}/32"):
        thief.call("announce", address=owner.address, interface=thief.interface)
        mac = hardware_address(thief, thief.interface)
        lab.wait(lambda: _known(client, owner.address) == mac, f"{client.name} to believe {thief.name}", QUICK)
        yield


def _known(client: Node, address: str) -> str:
    return str((entry(client, address, client.interface) or {}).get("lladdr", ""))


@contextmanager
def _detected(lab: Lab, owner: Node, thief: Node) -> Iterator[None]:
    """IPv6: the thief was there first; the owner, when it comes up, detects it and may not use its own address."""
    address, detection = f"{owner.address}/128", {f"net/ipv6/conf/{owner.interface}/accept_dad": "1"}
    with written(owner, detection), _given_up(owner, address), _held(thief, address, "nodad"), _held(owner, address):
        lab.wait(lambda: _failed(owner), f"{owner.name} to detect {thief.name}", QUICK)
        yield


def _held(node: Node, address: str, *flags: str) -> AbstractContextManager[None]:
    """An address more at a node's interface."""
    where = [address, "dev", node.interface]
    return changed(node, ["address", "add", *where, *flags], ["address", "del", *where])


def _given_up(node: Node, address: str) -> AbstractContextManager[None]:
    """The node's own address taken from it; it comes back without a detection, as the lab made it."""
    where = [address, "dev", node.interface]
    return changed(node, ["address", "del", *where], ["address", "add", *where, "nodad"])


def _failed(owner: Node) -> bool:
    argv = ["ip", "-json", "address", "show", "dev", owner.interface, "to", owner.address]
    told = json.loads(owner.call("command", argv=argv) or "[]")
    return any(info.get("dadfailed") for device in told for info in device.get("addr_info", ()))
