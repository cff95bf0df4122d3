"""The kernel's default SYN schedule for real, all 131 s of it, beside the compressed one: both packet timelines.

Both run at once in labs of their own, from one scenario: `timing` is all that differs. Needs root; takes 135 s.
`python -m benchmarks.compressed` prints the timelines alone.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from benchmarks.measure import Row, table
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


def timelines(real: Result, compressed: Result) -> list[str]:
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


def outside(result: Result) -> int:
    """How many intervals between SYNs are not within [n, 1.125 n + 2 jiffies] for n units; a SYN too few is one."""
    assert result.schedule is not None
    gaps = [after - before for before, after in pairwise(times(result)[:-1])]
    bounds = result.schedule.intervals()
    good = sum(low <= gap <= high for gap, (_, low, high) in zip(gaps, bounds, strict=False))
    return len(bounds) - good


def rows() -> list[Row]:
    """Run both at once and tell their timelines on stderr."""
    with Netns() as session, ThreadPoolExecutor(2) as pool:
        real, compressed = pool.map(lambda timing: measured(timing, session), COLUMNS)
    print(f"{'':10} units   {'real, in units of 1 s':>21}   {compressed.timing}", file=sys.stderr)
    print("\n".join(timelines(real, compressed)), file=sys.stderr)
    took_real, took = times(real)[-1], times(compressed)[-1]
    ratio = f"real: {took_real:.1f} s, {took_real / took:.0f} times that"
    verdicts = [result.verdict.kind for result in (real, compressed)]
    return [
        Row("default SYN schedule, compressed", took, "s", 1.5, ratio),
        Row("... intervals out of shape, compressed", outside(compressed), "of 10", 0, "[n, 1.125 n + 2 jiffies]"),
        Row("... intervals out of shape, real", outside(real), "of 10", 0),
        Row("... not PASS", sum(kind != "PASS" for kind in verdicts), "of 2", 0, ", ".join(verdicts)),
    ]


if __name__ == "__main__":
    print(table(rows()))
