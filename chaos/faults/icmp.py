"""`icmp {at, type, code?, segment?}`: a router or a host answers segments with an ICMP error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

from chaos.effect import Effect, spoken
from chaos.faults._armed import Touching
from chaos.faults._rules import FIREWALL, REJECT, Selection, armed, required
from chaos.faults._seen import no_icmp
from chaos.fields import NodeName, Port, Segments
from chaos.model import Family, Lab, Setting

Name = Literal[
    "network-unreachable", "host-unreachable", "protocol-unreachable", "port-unreachable",
    "network-prohibited", "host-prohibited", "admin-prohibited",
]  # fmt: skip

WITH: dict[Family, dict[Name, tuple[str, int, int]]] = {
    "ipv4": {
        "network-unreachable": ("icmp-net-unreachable", 3, 0),
        "host-unreachable": ("icmp-host-unreachable", 3, 1),
        "protocol-unreachable": ("icmp-proto-unreachable", 3, 2),
        "port-unreachable": ("icmp-port-unreachable", 3, 3),
        "network-prohibited": ("icmp-net-prohibited", 3, 9),
        "host-prohibited": ("icmp-host-prohibited", 3, 10),
        "admin-prohibited": ("icmp-admin-prohibited", 3, 13),
    },
    "ipv6": {
        "network-unreachable": ("icmp6-no-route", 1, 0),
        "admin-prohibited": ("icmp6-adm-prohibited", 1, 1),
        "host-unreachable": ("icmp6-addr-unreachable", 1, 3),
        "port-unreachable": ("icmp6-port-unreachable", 1, 4),
    },
}
"""What iptables(8)'s REJECT can send, by the message's name: (its option, type, code). RFC 792, 1812, 4443."""


@dataclass(frozen=True)
class Icmp:
    """A node answers segments with an ICMP destination unreachable (iptables REJECT).

    Wire: an ICMP or ICMPv6 error that quotes the segment (RFC 792, RFC 4443); the segment goes no further.
    By hand: `iptables -A FORWARD -p tcp --dport 8080 --syn -j REJECT --reject-with icmp-host-unreachable`
    Linux: by type and code: ENETUNREACH, EHOSTUNREACH, ECONNREFUSED, ENOPROTOOPT or EACCES, after one round trip;
        on an established connection nothing but a soft error.
    Imitates: a router without a route; a firewall that rejects with admin-prohibited; a host without the port.
    """

    requires: ClassVar[tuple[str, ...]] = (*FIREWALL, "match:bpf", REJECT)

    at: NodeName
    type: Name | Literal[1, 3]
    code: int | None = None
    segment: Segments = ("syn",)
    port: Port | None = None

    def needs(self, setting: Setting) -> tuple[str, ...]:
        """Of `requires`: telling segments by their payload takes a match of its own."""
        return (*required(self.segment), REJECT)

    def check(self, setting: Setting, expect: object) -> Iterable[tuple[str, str]]:
        """REJECT cannot send every code, and each family has its own."""
        if self._message(setting.family) is None:
            yield "type", f"over {setting.family} REJECT sends only {', '.join(known(setting.family))}"

    def _message(self, family: Family) -> tuple[str, int, int] | None:
        if isinstance(self.type, str):
            return WITH[family].get(self.type)
        found = [it for it in WITH[family].values() if it[1:] == (self.type, self.code)]
        return found[0] if found else None

    def effect(self, setting: Setting) -> Effect:
        """An ICMP error to the sender."""
        chosen = Selection(self.at, self.segment, self.port)
        meets, behind = chosen.meets(setting), chosen.behind(setting)
        message = self._message(setting.family)
        assert message is not None, "check() refuses it"
        _, kind, code = message
        says = f"{self.at} answers {spoken(meets)} with ICMP {message[0].removeprefix('icmp-').removeprefix('icmp6-')}"
        return Effect(f"{says} ({kind}/{code})", self.at, meets, f"icmp:{kind}/{code}", behind=behind)

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Touching]:
        message = self._message(lab.setting.family)
        assert message is not None, "check() refuses it"
        option, kind, code = message
        chosen = Selection(self.at, self.segment, self.port)
        rules = chosen.rules(lab, ["-j", "REJECT", "--reject-with", option])
        with armed(lab.nodes[self.at], lab.setting.family, rules) as armed_rules:
            yield Touching(armed_rules.hits, no_icmp(kind, code, chosen.end(lab.setting)))


def known(family: Family) -> list[str]:
    """The messages of a family, as a person may write them."""
    return [f"{name} ({kind}/{code})" for name, (_, kind, code) in WITH[family].items()]
