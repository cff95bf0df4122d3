"""Faults by which a name leads to an address that is routed and belongs to nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from chaos.faults._rules import Rules, armed
from chaos.model import ROUTER, Lab, Setting


def looked_up(at: str, setting: Setting, kind: str) -> Iterable[tuple[str, str]]:
    """The name must be wrong where it is used, and there must be a router to swallow."""
    if at != setting.client:
        yield "at", f"the name is looked up at the client, {setting.client!r}"
    yield from routed(setting, kind)


def routed(setting: Setting, kind: str) -> Iterable[tuple[str, str]]:
    """There must be a router to swallow."""
    if setting.path == "direct":
        yield "at", f"{kind} needs the router; `path: direct` leaves it out"


@contextmanager
def swallowed(lab: Lab, at: str, addresses: Sequence[str]) -> Iterator[Rules]:
    """The target's name leads to these addresses at this node; SYNs to the one that is nobody's vanish."""
    rule = ("PREROUTING", "-i", "wire0", "-d", lab.nowhere, "-p", "tcp", "--syn", "-j", "DROP")
    with armed(lab.nodes[ROUTER], lab.setting.family, [rule], table="raw") as rules:
        lab.names(at, {lab.setting.target.node: addresses})
        try:
            yield rules
        finally:
            lab.names(at, {})
