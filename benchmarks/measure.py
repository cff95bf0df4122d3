"""What the benchmarks share: a row of the table, percentiles, and what processor time and memory are read from."""

from __future__ import annotations

import math
import os
import resource
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = ROOT / "scenarios"
CPUCLOCK_SCHED = 2
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
        bar = "" if self.bar is None else f"{self.bar:g}"
        return self.figure, f"{self.value:.4g}", self.unit, bar, self.ratio, self.note

    @property
    def ratio(self) -> str:
        """measured / bar; of a bar of nothing at all, whether it is met."""
        if not self.bar:
            return "" if self.bar is None else "met" if self.value == 0 else "missed"
        return f"{self.value / self.bar:.2f} x"


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
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def median_ms(values: Sequence[float]) -> float:
    """The median of seconds, in milliseconds."""
    return statistics.median(values) * 1000


def session_s() -> float:
    """Processor seconds of this process and of all that it started, the dead included.

    A lab's process waits for its children (serve.Agent.reset), so that their time comes up to its own; what the kernel
    reaps for it would be lost (kernel/pid_namespace.c, zap_pid_ns_processes). What the kernel does in threads of its
    own (interrupts, namespaces taken down) is not in it; see `machine_s`.
    """
    total = time.process_time()
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            total += time.clock_gettime(cpu_clock(pid)) + sum(map(int, stat[13:15])) / TICKS
    return total


def cpu_clock(pid: int) -> int:
    """The clock of a process's own processor time (clock_getcpuclockid(3)); stat has it in ticks, rounded down."""
    return (~pid << 3) | CPUCLOCK_SCHED


def children_s() -> float:
    """Processor seconds of the programs that this process has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def machine_s() -> float:
    """Processor seconds that the whole machine has spent, kernel threads and neighbours included."""
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
