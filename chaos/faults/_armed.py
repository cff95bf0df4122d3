"""What `inject` yields: the two questions that a run asks a fault that is in force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chaos.evidence import Evidence


def _needs_no_more(evidence: Evidence) -> None:
    """The hits are proof enough: they are the kernel's own counter."""


@dataclass(frozen=True)
class Touching:
    """model.Armed from two functions."""

    count: Callable[[], int]
    doubt: Callable[[Evidence], str | None] = _needs_no_more

    def hits(self) -> int:
        return self.count()

    def unproven(self, evidence: Evidence) -> str | None:
        return self.doubt(evidence)
