"""A verdict for programs (`verdict.json`, `run --json`) and for people (what a FAIL shows)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from chaos.check import FaultReport, Verdict
from chaos.evidence import Evidence
from chaos.lookup import render as render_lookups
from chaos.model import Outcome
from chaos.transcript import render, shortened, table

LINES = 29
"""What a FAIL may take of a screen."""


class OutcomeJson(TypedDict):
    """What the client surfaced; all null when there was no attempt."""

    error: str | None
    phase: str | None
    elapsed_s: float | None
    type: str | None
    message: str | None


class FaultJson(TypedDict):
    """A fault and what it touched."""

    kind: str
    hits: int


class CaseJson(TypedDict):
    """One case's result. `wire` is the conversation at the client, compact; `kernel` has the counters that moved.

    lookups: the client's DNS messages, likewise.
    """

    id: str
    file: str
    case: str
    verdict: str
    reasons: list[str]
    outcome: OutcomeJson
    faults: list[FaultJson]
    lookups: list[str]
    wire: list[str]
    states: dict[str, list[str]]
    kernel: dict[str, dict[str, int]]
    timing: str
    backend: str
    artifacts: str | None


def as_json(
    *,
    file: str,
    case: str,
    verdict: Verdict,
    evidence: Evidence | None,
    faults: Sequence[FaultReport],
    timing: str,
    backend: str,
    artifacts: str | None,
) -> CaseJson:
    """The object of one case. `evidence` is None when the run ended before an attempt was made."""
    return {
        "id": f"{file}::{case}",
        "file": file,
        "case": case,
        "verdict": verdict.kind,
        "reasons": list(verdict.reasons),
        "outcome": _outcome(evidence.outcome if evidence else None),
        "faults": [{"kind": fault.kind, "hits": fault.hits} for fault in faults],
        "lookups": render_lookups(evidence.lookups) if evidence else [],
        "wire": render(evidence.packets.get(evidence.client, ())) if evidence else [],
        "states": {node: log.states for node, log in evidence.states.items()} if evidence else {},
        "kernel": {node: _moved(counters) for node, counters in evidence.kernel.items()} if evidence else {},
        "timing": timing,
        "backend": backend,
        "artifacts": artifacts,
    }


def _outcome(outcome: Outcome | None) -> OutcomeJson:
    if outcome is None:
        return {"error": None, "phase": None, "elapsed_s": None, "type": None, "message": None}
    return {
        "error": outcome.error,
        "phase": outcome.phase,
        "elapsed_s": outcome.elapsed if outcome.elapsed is None else round(outcome.elapsed, 6),
        "type": outcome.type,
        "message": outcome.message,
    }


def _moved(counters: Mapping[str, int]) -> dict[str, int]:
    return {name: delta for name, delta in sorted(counters.items()) if delta}


def explain_failure(
    verdict: Verdict,
    *,
    file: str,
    line: int,
    lines: Mapping[str, int],
    evidence: Evidence | None,
    faults: Sequence[FaultReport],
    artifacts: str | None = None,
) -> str:
    """What a person needs to see of a FAIL or INVALID, in under 30 lines: where, why, and the packets.

    `line` is the case's; `lines` the line of each key that the file has, by path: `expect.error`, `expect.wire`.
    """
    reasons = [f"  {file}:{_place(reason, lines, line)}: {_one_line(reason)}" for reason in verdict.reasons]
    told = [f"{verdict.kind} {file}:{line}", *shortened(reasons, LINES - 10), *_circumstances(evidence, faults)]
    tail = [f"artefacts: {artifacts}"] if artifacts else []
    packets = _packets(evidence, LINES - len(told) - len(tail)) if evidence else []
    return "\n".join([*told, *packets, *tail])


def _place(reason: str, lines: Mapping[str, int], default: int) -> int:
    """The line of the key that a reason is about: of `kernel.ListenOverflows at server` the nearest that is there."""
    field, _, node = reason.split(":", maxsplit=1)[0].partition(" at ")
    name, _, rest = field.partition(".")
    candidates = (f"{name}.{node}.{rest}", f"{name}.{rest}", f"{name}.{node}", name)
    return next((lines[path] for one in candidates if (path := f"expect.{one}") in lines), default)


def _circumstances(evidence: Evidence | None, faults: Sequence[FaultReport]) -> list[str]:
    told = []
    if evidence is not None:
        outcome = evidence.outcome
        took = "" if outcome.elapsed is None else f" after {outcome.elapsed * 1000:.1f} ms"
        where = f" in {outcome.phase}" if outcome.phase else ""
        surfaced = f"{outcome.type.removeprefix('builtins.')}: {outcome.message}" if outcome.type else outcome.stderr
        said = _one_line(surfaced)
        told.append(
            f"client surfaced: {outcome.error or 'no error by name'}{where}{took}" + (f" ({said})" if said else "")
        )
    if evidence is not None and evidence.lookups:
        told.append(f"looked up: {', '.join(render_lookups(evidence.lookups))}")
    if faults:
        told.append("faults: " + ", ".join(f"{fault}: {_hits(fault.hits)}" for fault in faults))
    return told


def _hits(count: int) -> str:
    return "1 hit" if count == 1 else f"{count} hits"


def _packets(evidence: Evidence, room: int) -> list[str]:
    """The client's conversation; also the server's when there is room for it."""
    told: list[str] = []
    for node in (evidence.client, evidence.server):
        packets = evidence.packets.get(node)
        if packets is None or (told and room < 4):
            continue
        heading = f"packets at {node}:" if packets else f"packets at {node}: none"
        rows = table(packets, limit=max(3, room - 1))
        told += [heading, *rows]
        room -= len(rows) + 1
    return told


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:297]}..."
