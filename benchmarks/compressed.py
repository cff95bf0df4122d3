"""The kernel's default SYN schedule for real, all 131 s of it, beside the compressed one: both packet timelines.

Both run at once in labs of their own, from one scenario: `timing` is all that differs. Needs root; takes 135 s.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from chaos.backends.netns import Netns
from chaos.model import Timing
from chaos.run import Result, run
from chaos.scenario import load

SCENARIO = Path(__file__).resolve().parents[1] / "scenarios" / "timeout" / "default-schedule.chaos.yaml"
COLUMNS = ("real", "compressed")


def measured(timing: Timing, session: Netns) -> Result:
    """The scenario's result under this timing."""
    case = load(SCENARIO).cases[0]
    return run(replace(case, setting=replace(case.setting, timing=timing)), session)


def times(result: Result) -> list[float]:
    """Seconds from the first SYN to each SYN at the client, and to connect()'s return."""
    assert result.evidence is not None, result.verdict.reasons
    packets = result.evidence.packets[result.evidence.client]
    events = [*(packet.time_ns for packet in packets), result.evidence.outcome.returned_ns]
    return [(event - events[0]) / 1e9 for event in events]


def rows(real: Result, compressed: Result) -> list[str]:
    """A line for each SYN and for the end: when, and how many units after the line before."""
    lines, seen = [], [times(real), times(compressed)]
    units = [result.schedule.unit.rto for result in (real, compressed) if result.schedule]
    schedule = real.schedule
    assert schedule is not None
    due = [0.0, *(after - before for before, after in pairwise([*schedule.sends, schedule.gives_up]))]
    steps = [[0.0, *(after - before for before, after in pairwise(each))] for each in seen]
    names = [*(f"SYN {number}" for number in range(1, len(schedule.sends) + 1)), "ETIMEDOUT"]
    for number, name in enumerate(names):
        cells = [f"{seen[at][number]:10.4f} s {steps[at][number] / units[at]:8.3f}" for at in (0, 1)]
        lines.append(f"{name:<10} {due[number]:5g}   {'   '.join(cells)}")
    return lines


def within(result: Result) -> str:
    """How many intervals between SYNs are within [n, 1.125 n + 2 jiffies], n units."""
    assert result.schedule is not None
    gaps = [after - before for before, after in pairwise(times(result)[:-1])]
    bounds = result.schedule.intervals()
    good = sum(low <= gap <= high for gap, (_, low, high) in zip(gaps, bounds, strict=True))
    return f"{good} of {len(bounds)}"


def main() -> int:
    """Run both and print them; the exit status is 1 unless both passed."""
    with Netns() as session, ThreadPoolExecutor(2) as pool:
        real, compressed = pool.map(lambda timing: measured(timing, session), COLUMNS)
    print(f"{'':10} units   {'real, in units of 1 s':>21}   {compressed.timing}, in units of {unit_ms(compressed)} ms")
    print("\n".join(rows(real, compressed)))
    for name, result in zip(COLUMNS, (real, compressed), strict=True):
        print(f"{name:<10} {result.verdict.kind}  intervals within [n, 1.125 n + 2 jiffies]: {within(result)}")
        print(*(f"           {reason}" for reason in result.verdict.reasons), sep="\n", end="")
    took_real, took = times(real)[-1], times(compressed)[-1]
    print(f"ratio: {took_real:.1f} s / {took:.3f} s = {took_real / took:.0f}")
    return 0 if real.verdict.kind == compressed.verdict.kind == "PASS" else 1


def unit_ms(result: Result) -> str:
    """The schedule's unit in milliseconds."""
    return f"{result.schedule.unit.rto * 1000:g}" if result.schedule else "?"


if __name__ == "__main__":
    sys.exit(main())
