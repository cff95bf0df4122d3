"""The entry of a neighbour table, as faults read it and write it (arp(7), ip-neighbour(8))."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import Any

from chaos.faults._ip import changed
from chaos.model import Node


def entry(node: Node, address: str, interface: str) -> dict[str, Any] | None:
    """What a node knows of a neighbour: `state`, and `lladdr` if it has been found; None if it was not asked for."""
    argv = ["ip", "-json", "neigh", "show", "to", address, "dev", interface, "nud", "all"]
    found: list[dict[str, Any]] = json.loads(node.call("command", argv=argv) or "[]")
    return next((each for each in found if "state" in each), None)


def state(node: Node, address: str, interface: str) -> str:
    """The entry's state: REACHABLE, FAILED...; `gone` when it has none."""
    found = entry(node, address, interface)
    return str(found["state"][0]) if found else "gone"


def hardware_address(node: Node, interface: str) -> str:
    """The MAC address of a node's interface."""
    found = json.loads(node.call("command", argv=["ip", "-json", "link", "show", "dev", interface]) or "[{}]")
    return str(found[0].get("address", ""))


def pinned(node: Node, address: str, interface: str, mac: str) -> AbstractContextManager[None]:
    """The node knows this neighbour for good: it never asks, and whoever would answer learns nothing from it."""
    where = [address, "dev", interface]
    return changed(node, ["neigh", "replace", *where, "lladdr", mac, "nud", "permanent"], ["neigh", "del", *where])
