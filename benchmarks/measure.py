"""What the benchmarks share: a row of the table, percentiles, and what processor time and memory are read from."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = ROOT / "scenarios"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Row:
    """One figure. `bar` is what it may be at most, in the same unit; None: there is none."""

    figure: str
    value: float
    unit: str
    bar: float | None = None
    note: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        ratio = "" if self.bar is None else "met" if self.value == self.bar == 0 else f"{self.value / self.bar:.2f} x"
        bar = "" if self.bar is None else f"{self.bar:g}"
        return (
            self.figure,
            f"{self.value:.4g}",
            self.unit,
            bar,
            ratio if self.bar else ("met" if ratio else ""),
            self.note,
        )


def table(rows: Iterable[Row]) -> str:
    """All rows as columns: figure, measured, unit, bar, measured / bar, note."""
    lines = [("figure", "measured", "unit", "at most", "ratio", ""), *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    right = (1, 3, 4)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value at or below which this share of them lies (nearest rank)."""
    return sorted(values)[min(len(values) - 1, max(0, round(share * len(values) + 0.5) - 1))]


def median_ms(values: Sequence[float]) -> float:
    """The median of seconds, in milliseconds."""
    return statistics.median(values) * 1000


def machine_s() -> float:
    """Processor seconds that the whole machine has spent since it started, interrupts and kernel threads included.

    The only clock that sees all of a lab: its processes are killed with their namespace, which adds their time to
    nobody's, and the kernel takes namespaces down in threads of its own. It wants a machine that does nothing else.
    """
    fields = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, *_ = fields
    return (user + nice + system + irq + softirq) / TICKS


def descendants(pid: int) -> Iterator[int]:
    """Every living process below this one (proc(5), /proc/PID/stat)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                stat = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                children.setdefault(int(stat[1]), []).append(int(entry.name))
    level = children.get(pid, [])
    while level:
        yield from level
        level = [child for parent in level for child in children.get(parent, [])]


def memory_mib(pids: Iterable[int]) -> float:
    """Proportional set size of these processes: what is shared is counted once."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def descriptors() -> int:
    """Open file descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))
