"""Faults whose doing goes on in a child of an agent: it is there, and has said so, while the fault is in force."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chaos.errors import LabError
from chaos.model import Node, Running

QUICK = 10.0
"""Seconds within which a child must answer: a condition's deadline, not a wait."""


def told(running: Running, key: str) -> Any:
    """What the child says next under this key. LabError when it does not."""
    event = running.next(QUICK)
    if event is None or key not in event:
        raise LabError(f"a child of an agent said {event} and not {key!r} within {QUICK:g} s")
    return event[key]


@contextmanager
def started(node: Node, operation: str, **arguments: Any) -> Iterator[Running]:
    """An operation that is ready, and ends on leaving."""
    running = node.start(operation, **arguments)
    try:
        told(running, "ready")
        yield running
    finally:
        running.end()


@contextmanager
def held(node: Node, address: str, port: int, count: int) -> Iterator[int]:
    """Connections that a node makes and holds; yields how many it could make. They end without a word to the peer."""
    running = node.start("holders", address=address, port=port, count=count)
    try:
        yield int(told(running, "held"))
    finally:
        running.tell({"release": True})
        told(running, "released")
        running.end()
