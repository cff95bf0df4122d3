"""The cliff: the delay at which a verdict flips, by bisection; each round tries several delays side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from chaos.errors import LabError
from chaos.faults.delay import Delay
from chaos.run import Result
from chaos.scenario import Case

AT_ONCE = 4
"""Delays that are tried in one round: it divides the span that is left by one more than that."""
DOUBLINGS = 6
"""How often a delay is doubled in search of another verdict than the file's own."""

Try = Callable[[Sequence[float]], list[Result]]


@dataclass(frozen=True)
class Side:
    """One side of the cliff: the delay nearest to it that was tried, in seconds, and how it ended."""

    delay: float
    verdict: str
    error: str | None


@dataclass(frozen=True)
class Cliff:
    """Where the verdict flips: between two delays that were tried. `tries` is how many were."""

    below: Side
    above: Side
    tries: int

    @property
    def at(self) -> float:
        """The middle between both sides, in seconds."""
        return (self.below.delay + self.above.delay) / 2

    @property
    def precision(self) -> float:
        """Half of what is between them."""
        return (self.above.delay - self.below.delay) / 2


def delay_of(case: Case) -> float | None:
    """The delay of the case's one `delay` fault, in seconds; None when it has none, or several."""
    found = [fault.by for _, fault in case.faults if isinstance(fault, Delay)]
    return found[0] if len(found) == 1 else None


def delayed(case: Case, by: float) -> Case:
    """The same case with this delay."""
    faults = [(kind, replace(fault, by=by) if isinstance(fault, Delay) else fault) for kind, fault in case.faults]
    return replace(case, faults=tuple(faults))


def cliff(start: float, precision: float, attempt: Try) -> Cliff | None:
    """Bisect until both sides are no farther apart than twice the precision; None when no other verdict was found.

    start: the file's own delay; attempt: runs the case with each of these delays. Raises LabError on an INVALID.
    """
    told: dict[float, Side] = {}

    def sides(delays: Sequence[float]) -> list[Side]:
        told.update((delay, _side(delay, result)) for delay, result in zip(delays, attempt(delays), strict=True))
        return [told[delay] for delay in sorted(told)]

    found = _flip(sides([0.0, start]))
    for doubling in range(DOUBLINGS):
        if found is not None:
            break
        found = _flip(sides([start * 2 ** (doubling + 1)]))
    if found is None:
        return None
    while found[1].delay - found[0].delay > 2 * precision:
        low, high = found[0].delay, found[1].delay
        step = (high - low) / (AT_ONCE + 1)
        found = _flip(sides([low + step * (number + 1) for number in range(AT_ONCE)])) or found
    return Cliff(*found, tries=len(told))


def _flip(sides: Sequence[Side]) -> tuple[Side, Side] | None:
    """The first two neighbours whose verdicts differ."""
    return next(((low, high) for low, high in pairwise(sides) if low.verdict != high.verdict), None)


def _side(delay: float, result: Result) -> Side:
    if result.verdict.kind == "INVALID" or result.evidence is None:
        raise LabError(f"with a delay of {delay * 1000:g} ms: {'; '.join(result.verdict.reasons)}")
    return Side(delay, result.verdict.kind, result.evidence.outcome.error)


def as_json(case: Case, found: Cliff) -> Mapping[str, Any]:
    """What `cliff --json` prints; times in seconds."""
    sides = {name: vars(side) for name, side in (("below", found.below), ("above", found.above))}
    return {"id": case.node_id, "cliff_s": found.at, "precision_s": found.precision, **sides, "tries": found.tries}
