"""No wrong green: every shipped scenario, with one thing wrong at a time, must not pass.

All mutants run side by side: few of them wait for anything, since most of them break the fault and not the network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from chaos.backends.netns import Netns
from chaos.run import Backend, Result, run
from chaos.scenario import load
from tests.mutations import Mutant, mutants

SCENARIOS = Path(__file__).resolve().parent.parent / "scenarios"
AT_ONCE = 4 * (os.cpu_count() or 1)
"""Labs at a time: more than there are processors, because a case waits for its wire half of the time."""
LEAST = 3


@dataclass(frozen=True)
class Row:
    """A mutant's end: the worst verdict that it got, the details of each variant, and whether it was really tried."""

    mutant: Mutant
    verdict: str
    details: Sequence[str] = ()
    doubt: str | None = None

    @property
    def told(self) -> str:
        if self.mutant.mutation == "control":
            return self.verdict
        if self.mutant.why_not:
            return "n/a"
        return "SURVIVED" if self.verdict == "PASS" else f"killed {self.verdict}"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    cases = [case for file in sorted(SCENARIOS.glob("**/*.chaos.yaml")) for case in load(file).cases]
    assert cases
    with Netns() as backend, ThreadPoolExecutor(AT_ONCE) as pool:
        # The controls begin first: among them are those that wait for the kernel to give up.
        planned = {case.node_id: list(mutants(case)) for case in cases}
        every = [mutant for listed in planned.values() for mutant in listed]
        every.sort(key=lambda mutant: mutant.mutation != "control")
        running = {id(mutant): pool.submit(_run, mutant, backend) for mutant in every if mutant.run}
        found = []
        for listed in planned.values():
            control = running[id(listed[0])].result()
            for mutant in listed:
                found.append(_row(mutant, running[id(mutant)].result() if mutant.run else control))
    return found


def _run(mutant: Mutant, backend: Backend) -> Result:
    assert mutant.run is not None
    case, wrapped = mutant.run
    return run(case, wrapped(backend))


def _row(mutant: Mutant, result: Result) -> Row:
    if mutant.why_not:
        return Row(mutant, "n/a", (mutant.why_not,))
    if mutant.ask is None:
        return Row(mutant, result.verdict.kind, result.verdict.reasons, _doubt(mutant, result))
    if result.evidence is None:
        return Row(mutant, "PASS", (f"there is no evidence to ask: {'; '.join(result.verdict.reasons)}",))
    answers = mutant.ask(result)
    assert answers, f"{mutant.case.node_id}: {mutant.mutation} has nothing to mutate"
    survivors = [name for name, verdict in answers if verdict.kind == "PASS"]
    details = [f"{name}: {verdict.kind}, {'; '.join(verdict.reasons)}" for name, verdict in answers]
    kinds = {verdict.kind for _, verdict in answers}
    return Row(mutant, "PASS" if survivors else "FAIL" if "FAIL" in kinds else "INVALID", details)


def _doubt(mutant: Mutant, result: Result) -> str | None:
    """A mutant that never came to its attempt was not killed, it was not tried; without a listener that is the kill."""
    if result.evidence is None and mutant.mutation != "no listener":
        return "; ".join(result.verdict.reasons)
    return None


def test_every_control_passes(rows: list[Row]) -> None:
    failed = [(row.mutant.case.node_id, row.verdict, row.details) for row in rows if row.mutant.mutation == "control" and row.verdict != "PASS"]
    assert not failed, _listed(f"{node}: {verdict}: {'; '.join(details)}" for node, verdict, details in failed)


def test_no_mutant_survives(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{table(rows)}")
    survivors = [row for row in rows if row.told == "SURVIVED"]
    assert not survivors, _listed(f"{_name(row)}: {'; '.join(row.details)}" for row in survivors)


def test_every_mutant_came_to_its_attempt(rows: list[Row]) -> None:
    doubtful = [row for row in rows if row.doubt]
    assert not doubtful, _listed(f"{_name(row)}: {row.doubt}" for row in doubtful)


def test_at_least_three_are_killed_of_each(rows: list[Row]) -> None:
    for node, listed in groupby(rows, key=lambda row: row.mutant.case.node_id):
        killed = [row for row in listed if row.told.startswith("killed")]
        assert len(killed) >= LEAST, f"{node}: only {[row.mutant.mutation for row in killed]}"


def _name(row: Row) -> str:
    return f"{row.mutant.case.node_id} [{row.mutant.mutation}]"


def _listed(lines: Iterator[str]) -> str:
    return "\n  ".join(["", *lines])


def table(rows: Sequence[Row]) -> str:
    """Scenario by mutation: F killed by FAIL, I killed by INVALID, - does not apply, ! survived; then the counts."""
    names = list(dict.fromkeys(row.mutant.mutation for row in rows))
    letters = {"PASS": "!", "FAIL": "F", "INVALID": "I", "n/a": "-"}
    lines = ["F killed by FAIL   I killed by INVALID   ! survived   - does not apply", ""]
    lines += [f"{'  ' * number}{name}" for number, name in enumerate(names)]
    reasons: set[str] = set()
    for node, listed in groupby(rows, key=lambda row: row.mutant.case.node_id):
        cells = []
        for row in listed:
            cells.append("P" if row.told == "PASS" else letters[row.verdict])
            reasons |= {f"{row.mutant.mutation}: {row.details[0]}"} if row.verdict == "n/a" else set()
        lines.append(f"{' '.join(cells)}  {node}")
    killed, tried = sum(row.told.startswith("killed") for row in rows), sum(bool(row.mutant.run or row.mutant.ask) for row in rows)
    controls = sum(row.mutant.mutation == "control" for row in rows)
    lines += ["", f"killed {killed} of {tried - controls}", *(f"- {reason}" for reason in sorted(reasons))]
    return "\n".join(lines)


