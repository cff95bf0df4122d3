"""What the faults of our own listener share: they replace it, so they need one that is ours."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.model import Setting


def not_ours(setting: Setting, at: str, kind: str) -> Iterable[tuple[str, str]]:
    """The problem of a fault of our listener at a node that does not run it."""
    service = setting.topology.services.get(at)
    if service is not None and service.command:
        yield "at", f"{kind} needs our listener, and {at!r} runs a program of its own"
    elif service is not None and at != setting.listen.node:
        yield "at", f"{kind} acts on our listener, which is at {setting.listen.node!r}"
