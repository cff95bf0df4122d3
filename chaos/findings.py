"""One thing that is wrong with a run, and how much it takes away: see check.py for what the kinds mean."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["INVALID", "FAIL", "PASS"]

SEVERITY: tuple[Kind, ...] = ("INVALID", "FAIL", "PASS")
"""From the worst to the best; the worst of several decides."""


class Finding(NamedTuple):
    """A reason: `field: expected X, got Y`, or what stops us from knowing."""

    kind: Kind
    text: str


def mismatch(name: str, wanted: object, got: object) -> Finding:
    """The client, or the kernel, did something else than is expected."""
    return Finding("FAIL", f"{name}: expected {wanted}, got {got}")


def unknown(name: str, why: str) -> Finding:
    """Nothing can be said about this."""
    return Finding("INVALID", f"{name}: {why}")
