"""No wrong green: every shipped scenario, with one thing wrong at a time, must not pass.

What has to be run for a fault is run in one of the families of a scenario that is of both, in turn: one mutation over
IPv4, the next over IPv6.
All mutants run side by side, with turns at the processors while they do not wait (chaos/pool.py).
One test, so that it is one session of labs, whatever a distributed run makes of it. Their controls are the shipped
scenarios as they are, which are run once for all tests.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import pytest

from chaos.backends.netns import Netns
from chaos.check import Leg
from chaos.errors import ToolMissing
from chaos.pool import Turns
from chaos.run import Backend, Idle, Result, Run, probe_of
from chaos.scenario import Case, Expect, load
from tests import shipped
from tests.mutations import Mutant, mutants

SCENARIOS = Path(__file__).resolve().parent.parent / "scenarios"
AT_ONCE = 64
"""Labs at a time: many of them wait in vain for a segment, or for a fault to act."""
UNHEARD = ("no listener", "another type")
"""Mutations after which no baseline can be right."""
ONCE = -math.inf
"""When it has been tried long enough then: a probe with a clock of its own would be tried until that is over."""
WAITED = 4.0
"""Seconds for which a mutant's client waits for a fault to act, or for a segment; an unanswered SYN takes three."""
LEAST = 3
TURNS = 4 * (os.cpu_count() or 1)
"""At work at once; half of their work is to wait for a round trip."""
STRICT = os.environ.get("CI", "").lower() in ("true", "1")
"""Whether a missing tool is an error and not a skip."""
LETTERS = {"PASS": "!", "FAIL": "F", "INVALID": "I", "n/a": "-"}


@dataclass(frozen=True)
class Row:
    """A mutant's end: its verdict (the weakest of several variants), and the reasons.

    untried: why it never came to its attempt; such a mutant was not killed. missing: a tool that the whole case needs
    and this machine (or this user) does not have: the case is skipped, as pytest skips it.
    """

    mutant: Mutant
    verdict: str
    details: Sequence[str] = ()
    untried: str | None = None
    missing: str | None = None

    @property
    def is_control(self) -> bool:
        return self.mutant.mutation == "control"

    @property
    def killed(self) -> bool:
        return not self.is_control and self.untried is None and self.verdict in ("FAIL", "INVALID")

    @property
    def letter(self) -> str:
        return "P" if self.is_control and self.verdict == "PASS" else LETTERS[self.verdict]

    @property
    def name(self) -> str:
        return f"{self.mutant.case.node_id} [{self.mutant.mutation}]"


@pytest.mark.slow("several hundred labs, and the kernel's 3 s for every unanswered SYN")
def test_no_mutant_survives(tell: Callable[[str], None]) -> None:
    longest = max(it.evidence.outcome.waited_ns for it in shipped.results().values() if it.evidence is not None)
    assert longest / 1e9 < WAITED / 2, "a mutant that acts as late as a scenario would be killed by the clock"
    rows = all_rows([case for case in shipped.cases() if shipped.can_run(case)])
    tell(table(rows))
    assert any(row.killed for row in rows)
    assert not list(problems(rows)), "\n  ".join(["", *problems(rows)])


def all_rows(cases: Sequence[Case]) -> list[Row]:
    """Every mutant of every case. Where nobody listens, one baseline in vain is as good as many."""
    controls = {case.node_id: shipped.ended_as(case) for case in cases}
    planned = in_turn([mutant for case in cases for mutant in mutants(case)])
    todo = [mutant for mutant in planned if mutant.run and mutant.mutation != "control"]
    with Netns() as backend, pytest.MonkeyPatch.context() as patch:
        patch.setattr("chaos.clients.socket.WAITED", WAITED)
        with pytest.MonkeyPatch.context() as healthy:
            healthy.setattr("chaos.run.Run.leg", well)
            healthy.setattr("chaos.run.Run.recover", well)
            heard = [mutant for mutant in todo if mutant.mutation not in UNHEARD]
            done = dict(together(heard, backend))
            again = [one for one in heard if isinstance(end := done[id(one)], Result) and _untried(one, end)]
            done |= together(again, backend)  # a busy machine has kept them from their attempts
        patch.setattr("chaos.run.BASELINE", ONCE)
        alike: dict[str, list[Mutant]] = {}
        for mutant in todo:
            if mutant.mutation in UNHEARD:
                alike.setdefault(repr(before_any_fault(mutant).run), []).append(mutant)
        ends = together([before_any_fault(first) for first, *_ in alike.values()], backend)
        for those, (_, end) in zip(alike.values(), ends, strict=True):
            done |= {id(mutant): end for mutant in those}
    return [row_of(mutant, controls[mutant.case.node_id], done) for mutant in planned]


def in_turn(planned: Sequence[Mutant]) -> list[Mutant]:
    """Of those that are run, one of each mutation that is the same over IPv4 and IPv6; all where no fault is."""
    run = [one for one in planned if one.run and one.case.faults and one.mutation not in ("control", *UNHEARD)]
    kept = shipped.in_turn(run, lambda one: (shipped.of_any_family(one.case), one.mutation))
    left_out = {*map(id, run)} - {*map(id, kept)}
    return [
        Mutant(mutant.case, mutant.mutation, why_not="run in the other family")
        if {id(mutant), id(mutant.of)} & left_out
        else mutant
        for mutant in planned
    ]


def well(_run: Run, _name: str = "") -> Leg:
    """In place of a mutant's healthy legs: what is wrong must be seen in the attempt, and not by what it leaves behind;
    and the controls have shown that the network is well before it.
    """
    return Leg(ok=True)


def before_any_fault(mutant: Mutant) -> Mutant:
    """As far as it comes without a baseline, which depends on the network and on the probe; equal ones are run once."""
    assert mutant.run is not None
    case, wrapped = mutant.run
    setting, nothing = replace(case.setting, folder="", waits=0.0), Path()
    alone = replace(case, setting=setting, faults=(), client=probe_of(case), file=nothing, name="", line=0, lines={})
    return replace(mutant, run=(replace(alone, expect=Expect(), tags=(), xfail=None), wrapped))


def together(those: Sequence[Mutant], backend: Backend) -> Iterator[tuple[int, Result | ToolMissing]]:
    """What became of each, by its identity, when all have ended."""
    turns = Turns(TURNS)

    def work(mutant: Mutant) -> Result | ToolMissing:
        with turns.turn():
            return probed(mutant, backend, turns.idle)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from zip(map(id, those), list(threads.map(work, those)), strict=True)


def probed(mutant: Mutant, backend: Backend, idle: Idle) -> Result | ToolMissing:
    """The healthy legs are our probe's: no mutation is of them, and a library would be a process for each."""
    assert mutant.run is not None
    case, wrapped = mutant.run
    return tried(replace(mutant, run=(replace(case, probe="socket"), wrapped)), backend, idle)


def tried(mutant: Mutant, backend: Backend, idle: Idle = nullcontext) -> Result | ToolMissing:
    assert mutant.run is not None
    case, wrapped = mutant.run
    return shipped.end_of(case, wrapped(backend), idle)


def row_of(mutant: Mutant, control: Result | ToolMissing, done: Mapping[int, Result | ToolMissing]) -> Row:
    """What became of it; `done`: of mutants that were run, by identity."""
    result = done.get(id(mutant.of or mutant))
    if isinstance(control, ToolMissing):
        return Row(mutant, "n/a", missing=str(control))
    if mutant.why_not:
        return Row(mutant, "n/a", (mutant.why_not,))
    if isinstance(result, ToolMissing):
        return Row(mutant, "INVALID", untried=str(result))
    return _judged(mutant, result or control)


def _judged(mutant: Mutant, result: Result) -> Row:
    if mutant.ask is None or (mutant.of and result.evidence is None):
        return Row(mutant, result.verdict.kind, result.verdict.reasons, _untried(mutant, result))
    if result.evidence is None:
        return Row(mutant, "PASS", untried="the control has no evidence to mutate")
    answers = mutant.ask(result)
    assert answers, f"{mutant.case.node_id}: {mutant.mutation} has nothing to mutate"
    kinds = {verdict.kind for _, verdict in answers}
    weakest = next(kind for kind in ("PASS", "FAIL", "INVALID") if kind in kinds)
    return Row(mutant, weakest, [f"{name}: {verdict.kind}" for name, verdict in answers if verdict.kind == weakest])


def _untried(mutant: Mutant, result: Result) -> str | None:
    """Without a listener the baseline is what fails; and a client that waits for a fault in vain has been tried."""
    reasons = "; ".join(result.verdict.reasons)
    without_baseline = mutant.mutation in UNHEARD
    in_vain = "in vain: the listener to act" in reasons or "in vain: '< " in reasons
    if result.evidence is not None or without_baseline or in_vain:
        return None
    return reasons


def problems(rows: Sequence[Row]) -> Iterator[str]:
    """Controls that do not pass, survivors, mutants that were never tried, scenarios with too few kills."""
    for row in rows:
        told = "; ".join(row.details)
        if row.missing is not None:
            if row.is_control and STRICT:
                yield f"{row.name}: {row.missing}"
        elif row.is_control and row.verdict != "PASS":
            yield f"{row.name}: {row.verdict}: {told}"
        elif row.untried is not None:
            yield f"{row.name}: was not tried: {row.untried}"
        elif not row.is_control and row.verdict == "PASS":
            yield f"{row.name}: SURVIVED: {told}"
    killed = Counter(row.mutant.case.node_id for row in rows if row.killed)
    for case in dict.fromkeys(row.mutant.case.node_id for row in rows if row.missing is None):
        if killed[case] < LEAST:
            yield f"{case}: only {killed[case]} mutants are killed"


def table(rows: Sequence[Row]) -> str:
    """Scenario by mutation, and the counts."""
    names = list(dict.fromkeys(row.mutant.mutation for row in rows))
    lines = ["P passes   F killed by FAIL   I killed by INVALID   ! survived   - does not apply", ""]
    for number, name in enumerate(names):
        lines.append(f"{'| ' * number}{name}")
    for case, listed in groupby(rows, key=lambda row: row.mutant.case.node_id):
        lines.append(f"{' '.join(row.letter for row in listed)}  {case}")
    mutated = [row for row in rows if not row.is_control and not row.mutant.why_not and row.missing is None]
    lines += ["", f"killed {sum(row.killed for row in mutated)} of {len(mutated)}; does not apply:"]
    reasons = Counter(
        (row.mutant.mutation, row.mutant.why_not) for row in rows if row.mutant.why_not and row.missing is None
    )
    lines += [f"skipped {row.mutant.case.node_id}: {row.missing}" for row in rows if row.is_control and row.missing]
    return "\n".join([*lines, *(f"  {count:3} x {name}: {why}" for (name, why), count in reasons.items())])


def test_every_mutation_that_is_run_is_run_in_one_family_and_all_others_in_both() -> None:
    cases = load(SCENARIOS / "refused" / "closed-port.chaos.yaml").cases
    every = [mutant for case in cases for mutant in mutants(case)]
    kept = in_turn(every)
    assert [(one.case, one.mutation) for one in kept] == [(one.case, one.mutation) for one in every]
    run = [one for one in every if one.run and one.mutation not in ("control", *UNHEARD)]
    still = [one for one in kept if one in run]
    assert {(shipped.of_any_family(one.case), one.mutation) for one in still} == {
        (shipped.of_any_family(one.case), one.mutation) for one in run
    }
    assert len(still) * 2 == len(run)
    assert {one.case.setting.family for one in still} == {"ipv4", "ipv6"}
    asked = [one.of for one in kept if one.mutation == "fault removed" and one.ask]
    assert asked
    assert all(any(one is other for other in still) for one in asked), "whose attempt is run"
    assert [one for one in kept if one.mutation == "another errno" and not one.ask] == []


def test_a_survivor_would_be_found() -> None:
    case = load(next(SCENARIOS.glob("reset/no-*"))).cases[0]
    control, removed, *others = mutants(case)
    rows = [Row(control, "PASS"), Row(removed, "PASS", ["it went through"]), *(Row(other, "FAIL") for other in others)]
    assert list(problems(rows)) == [f"{case.node_id} [fault removed]: SURVIVED: it went through"]


def test_what_was_never_tried_was_not_killed() -> None:
    case = load(next(SCENARIOS.glob("reset/no-*"))).cases[0]
    control, removed, *_ = mutants(case)
    rows = [Row(control, "PASS"), Row(removed, "INVALID", untried="environment: no lab")]
    assert list(problems(rows)) == [
        f"{case.node_id} [fault removed]: was not tried: environment: no lab",
        f"{case.node_id}: only 0 mutants are killed",
    ]


def test_a_skipped_case_is_no_survivor_and_no_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    case = load(next(SCENARIOS.glob("reset/no-*"))).cases[0]
    rows = [Row(mutant, "n/a", missing="iptables: not found") for mutant in mutants(case)]
    monkeypatch.setattr("tests.test_mutations.STRICT", False)
    assert list(problems(rows)) == []
    assert "killed 0 of 0" in table(rows)
    assert "skipped" in table(rows)
    monkeypatch.setattr("tests.test_mutations.STRICT", True)
    assert list(problems(rows)) == [f"{case.node_id} [control]: iptables: not found"]
