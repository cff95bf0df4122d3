"""The verdict: what a scenario expects, held against the evidence. Pure: data in, reasons out.

    INVALID   anything that stops us from knowing: a fault that touched nothing or is not proven, a failed baseline or
              recovery, packets lost, evidence that is missing or contradicts itself
    FAIL      the fault is proven, and something else happened: `error: expected ETIMEDOUT, got ECONNREFUSED`
    PASS      neither

INVALID beats FAIL beats PASS, and every reason is kept. Each expectation is one generator of findings: those of the
client's answer are in surfaced.py, of packets and kernel in proof.py, of TCP states in states.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos import attempts, proof, states, surfaced
from chaos.findings import SEVERITY, Finding, Kind, unknown

if TYPE_CHECKING:
    from chaos.evidence import Evidence
    from chaos.scenario import Expect
    from chaos.schedule import Schedule


@dataclass(frozen=True)
class FaultReport:
    """A fault after the attempt: its kind, where it was, what it touched, and why it is not proven (None: it is)."""

    kind: str
    at: str
    hits: int
    unproven: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} at {self.at}" if self.at else self.kind


@dataclass(frozen=True)
class Leg:
    """The baseline or the recovery: whether the healthy network answered, and if not, what happened instead."""

    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """PASS, FAIL or INVALID, with every finding, the worst first."""

    kind: Kind
    findings: tuple[Finding, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """What to tell people."""
        return tuple(finding.text for finding in self.findings)


def verdict(findings: Iterable[Finding]) -> Verdict:
    """The worst finding decides; equal ones are told once, in their order."""
    kept = sorted(dict.fromkeys(findings), key=lambda finding: SEVERITY.index(finding.kind))
    return Verdict(kept[0].kind if kept else "PASS", tuple(kept))


def merge(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict of several: the worst kind, all reasons."""
    return verdict(finding for one in verdicts for finding in one.findings)


def invalid(reason: str) -> Verdict:
    """The verdict of a run that could not be made."""
    return Verdict("INVALID", (Finding("INVALID", reason),))


def check(
    expect: Expect,
    evidence: Evidence,
    faults: Sequence[FaultReport],
    baseline: Leg,
    recovery: Leg,
    schedule: Schedule | None = None,
) -> Verdict:
    """Whether the run may be believed, and whether it went as expected. `schedule` is needed for `elapsed: kernel`."""
    return verdict(
        [*_believable(faults, baseline, recovery), *proof.sanity(evidence), *_met(expect, evidence, schedule)]
    )


def _believable(faults: Sequence[FaultReport], baseline: Leg, recovery: Leg) -> Iterator[Finding]:
    if not baseline.ok:
        yield unknown("baseline", baseline.reason or "failed before any fault was armed")
    for fault in faults:
        if fault.hits <= 0:
            yield unknown(str(fault), "0 hits: it touched nothing in the attempt")
        if fault.unproven is not None:
            yield unknown(str(fault), f"not proven: {fault.unproven}")
    if not recovery.ok:
        yield unknown("recovery", recovery.reason or "the network did not work again after the faults were withdrawn")


def _met(expect: Expect, evidence: Evidence, schedule: Schedule | None) -> Iterator[Finding]:
    yield from surfaced.error(expect, evidence)
    yield from surfaced.elapsed(expect, evidence, schedule)
    yield from surfaced.surfaces(expect, evidence)
    yield from surfaced.calls(expect, evidence)
    yield from proof.lookup(expect, evidence)
    yield from attempts.findings(expect, evidence)
    yield from proof.wire(expect, evidence)
    yield from states.states(expect, evidence)
    yield from proof.queues(expect, evidence)
    yield from proof.kernel(expect, evidence)
    yield from proof.accepted(expect, evidence)
    yield from proof.local(expect, evidence)
