"""What a fault changes in a node by ip(8), and puts back by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chaos.model import Node


@contextmanager
def changed(node: Node, do: Sequence[str], undo: Sequence[str]) -> Iterator[None]:
    """`ip DO` in a node; `ip UNDO` on leaving. Raises CommandFailed."""
    node.call("command", argv=["ip", *do])
    try:
        yield
    finally:
        node.call("command", argv=["ip", *undo])
