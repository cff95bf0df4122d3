"""ICMP errors by name: the numbers of each family, and what iptables' REJECT calls the few that it can send.

IPv4: RFC 792, 1122 and 1812. IPv6: RFC 4443, 6550, 7045 and 8883.
"""

from __future__ import annotations

from typing import Literal

from chaos.model import Family

Name = Literal[
    "network-unreachable", "host-unreachable", "protocol-unreachable", "port-unreachable", "fragmentation-needed",
    "source-route-failed", "network-unknown", "host-unknown", "source-host-isolated", "network-prohibited",
    "host-prohibited", "network-unreachable-for-tos", "host-unreachable-for-tos", "admin-prohibited",
    "host-precedence-violation", "precedence-cutoff", "source-quench", "ttl-exceeded", "reassembly-time-exceeded",
    "parameter-problem", "beyond-scope", "source-policy", "reject-route", "source-routing-error", "headers-too-long",
    "packet-too-big", "unrecognized-next-header", "unrecognized-option",
]  # fmt: skip

NUMBERS: dict[Family, dict[Name, tuple[int, int]]] = {
    "ipv4": {
        "network-unreachable": (3, 0), "host-unreachable": (3, 1), "protocol-unreachable": (3, 2),
        "port-unreachable": (3, 3), "fragmentation-needed": (3, 4), "packet-too-big": (3, 4),
        "source-route-failed": (3, 5), "network-unknown": (3, 6), "host-unknown": (3, 7),
        "source-host-isolated": (3, 8), "network-prohibited": (3, 9), "host-prohibited": (3, 10),
        "network-unreachable-for-tos": (3, 11), "host-unreachable-for-tos": (3, 12), "admin-prohibited": (3, 13),
        "host-precedence-violation": (3, 14), "precedence-cutoff": (3, 15), "source-quench": (4, 0),
        "ttl-exceeded": (11, 0), "reassembly-time-exceeded": (11, 1), "parameter-problem": (12, 0),
    },
    "ipv6": {
        "network-unreachable": (1, 0), "admin-prohibited": (1, 1), "beyond-scope": (1, 2), "host-unreachable": (1, 3),
        "port-unreachable": (1, 4), "source-policy": (1, 5), "reject-route": (1, 6), "source-routing-error": (1, 7),
        "headers-too-long": (1, 8), "packet-too-big": (2, 0), "fragmentation-needed": (2, 0), "ttl-exceeded": (3, 0),
        "reassembly-time-exceeded": (3, 1), "parameter-problem": (4, 0), "unrecognized-next-header": (4, 1),
        "unrecognized-option": (4, 2),
    },
}  # fmt: skip

ERRORS: dict[Family, frozenset[int]] = {"ipv4": frozenset({3, 4, 5, 11, 12}), "ipv6": frozenset(range(128))}
"""The types that quote a packet; the others are questions and answers."""

TOO_BIG: dict[Family, tuple[int, int]] = {"ipv4": (3, 4), "ipv6": (2, 0)}
"""What tells the MTU of the next hop (RFC 1191, 8201)."""

REJECTS: dict[Family, dict[tuple[int, int], str]] = {
    "ipv4": {
        (3, 0): "icmp-net-unreachable", (3, 1): "icmp-host-unreachable", (3, 2): "icmp-proto-unreachable",
        (3, 3): "icmp-port-unreachable", (3, 9): "icmp-net-prohibited", (3, 10): "icmp-host-prohibited",
        (3, 13): "icmp-admin-prohibited",
    },
    "ipv6": {
        (1, 0): "icmp6-no-route", (1, 1): "icmp6-adm-prohibited", (1, 3): "icmp6-addr-unreachable",
        (1, 4): "icmp6-port-unreachable", (1, 5): "icmp6-policy-fail", (1, 6): "icmp6-reject-route",
    },
}  # fmt: skip
"""By iptables-extensions(8), REJECT."""


def names_of(family: Family) -> list[str]:
    """The messages of a family, as a person may write them."""
    return [f"{name} ({kind}/{code})" for name, (kind, code) in NUMBERS[family].items()]


def name_of(family: Family, numbers: tuple[int, int]) -> str:
    """The name of a message; its numbers where it has none."""
    found = [name for name, its in NUMBERS[family].items() if its == numbers]
    return found[0].replace("-", " ") if found else f"type {numbers[0]}, code {numbers[1]}"
