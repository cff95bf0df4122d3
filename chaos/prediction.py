"""How an attempt will end, as data."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.model import Phase

Event = tuple[float | None, str]


@dataclass(frozen=True)
class Prediction:
    """The end of an attempt.

    errors: what the client gets, one of these; empty where it cannot be foretold.
    phase: None where it ends well, or may end in more than one.
    elapsed: seconds from the first segment, low and high (None: no bound).
    wire: lines of the wire language, at the client's interface; None where they cannot be foretold.
    events: (seconds, what happens), for people; None: right after what is told before.
    connected: seconds until connect() returns well; None where it does not, or nobody knows when.
    """

    errors: tuple[str, ...]
    phase: Phase | None = None
    elapsed: tuple[float, float | None] = (0.0, None)
    wire: tuple[str, ...] | None = None
    events: tuple[Event, ...] = ()
    connected: float | None = None

    @property
    def error(self) -> str | None:
        """The error, where there is but one."""
        return self.errors[0] if len(self.errors) == 1 else None
