"""What names lead to, as a node's files and a DNS server's zone have it. Pure: settings and addresses in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chaos.lookup import ATTEMPTS, TIMEOUT
from chaos.model import FAMILIES, Family, Setting

Places = Mapping[str, Mapping[Family, str]]
"""The addresses of every node, by its name."""
Overrides = Mapping[str, Sequence[str]]
"""Names that lead elsewhere, in the setting's family; the other family's address stays."""


def zone(setting: Setting, places: Places, overrides: Overrides) -> dict[str, list[str]]:
    """The addresses to which each name leads, in the order in which they are told."""
    return {name: _addresses(setting, name, own, overrides) for name, own in places.items()}


def _addresses(setting: Setting, name: str, own: Mapping[Family, str], overrides: Overrides) -> list[str]:
    instead = overrides.get(name, (own[setting.family],))
    found: list[str] = []
    for family in FAMILIES:
        if family in setting.families:
            found += instead if family == setting.family else (own[family],)
    return found


def hosts(setting: Setting, places: Places, overrides: Overrides) -> str:
    """An /etc/hosts with every node's name, or where names come from DNS with none of them."""
    loopback = "127.0.0.1" if setting.family == "ipv4" else "::1"
    told = zone(setting, places, overrides) if setting.names == "hosts" else {}
    lines = [f"{address} {name}" for name, addresses in told.items() for address in addresses]
    return "\n".join([f"{loopback} localhost", *lines]) + "\n"


def etc(resolver: str | None) -> dict[str, str]:
    """nsswitch.conf and resolv.conf, the same for all nodes; `resolver` is the DNS server's address."""
    if resolver is None:
        return {"nsswitch.conf": "hosts: files\n", "resolv.conf": ""}
    options = f"nameserver {resolver}\noptions timeout:{TIMEOUT} attempts:{ATTEMPTS}\n"
    return {"nsswitch.conf": "hosts: files dns\n", "resolv.conf": options}
