"""Routes of one host in a node, as faults read them, take them away and lead them elsewhere (ip-route(8))."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from chaos.faults._ip import changed
from chaos.model import Node

ANOTHER, ITS_END = "other0", "other1"


def routes(node: Node, goal: str) -> list[dict[str, str]]:
    """`ip -json route show` of one host's routes in a node."""
    family = "-6" if ":" in goal else "-4"
    argv = ["ip", family, "-json", "route", "show", goal]
    found: list[dict[str, str]] = json.loads(node.call("command", argv=argv) or "[]")
    return found


def added(node: Node, *route: str) -> AbstractContextManager[None]:
    """One route more."""
    return changed(node, ["route", "add", *route], ["route", "del", *route])


def taken(node: Node, goal: str, route: Mapping[str, str]) -> AbstractContextManager[None]:
    """One of the lab's routes less."""
    via = ["via", route["gateway"]] if "gateway" in route else []
    words = [goal, *via, "dev", route["dev"], "proto", "static", "metric", str(route["metric"])]
    return changed(node, ["route", "del", *words], ["route", "add", *words])


@contextmanager
def nowhere(node: Node, goal: str) -> Iterator[None]:
    """The node's only route to a host is by an interface at whose other end nobody is: what it sends there vanishes."""
    with ExitStack() as undo:
        undo.enter_context(_another_interface(node))
        for route in routes(node, goal):
            undo.enter_context(taken(node, goal, route))
        undo.enter_context(added(node, goal, "dev", ANOTHER, "metric", "1"))
        yield


@contextmanager
def _another_interface(node: Node) -> Iterator[None]:
    """A veth pair, both ends here and without addresses; without ARP, so that nobody's absence is noticed."""
    pair = ["type", "veth", "peer", "name", ITS_END]
    with changed(node, ["link", "add", ANOTHER, "up", "arp", "off", *pair], ["link", "del", ANOTHER]):
        node.call("command", argv=["ip", "link", "set", ITS_END, "up"])
        yield
