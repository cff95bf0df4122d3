"""Sysctls that a fault changes in a node, and puts back as they were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from chaos.model import Node


@contextmanager
def written(node: Node, values: Mapping[str, str]) -> Iterator[None]:
    """Write each sysctl (a path under /proc/sys); the values that were read before come back."""
    before = node.call("sysctl", read=list(values))
    try:
        node.call("sysctl", write=list(values.items()))
        yield
    finally:
        node.call("sysctl", write=[(name, before[name]) for name in values])
