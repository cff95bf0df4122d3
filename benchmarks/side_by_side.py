"""Dropped SYNs side by side: wall time against T + N x processor time / processors, where T is the kernel's wait.

With the `short` schedule, and as root a hundred of them with the whole default one, compressed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

from benchmarks.measure import SCENARIOS, Row, descendants, descriptors, memory_mib, session_s
from chaos.backends.netns import Netns
from chaos.pool import Pool
from chaos.run import Result, run
from chaos.scenario import Case, load

COUNTS = [int(count) for count in os.environ.get("BENCH_COUNTS", "1 10 100 1000").split()]
SHORT_S = 3.03
"""Two SYNs: 1 s and 2 s until the kernel gives up, and a jiffy or two."""
BARS = {100: SHORT_S + 2, 1000: 20.0}
COMPRESSED, COMPRESSED_BAR = 100, 3.0


def rows() -> Iterator[Row]:
    """A row for each count, and what a lab takes while all wait."""
    short = load(SCENARIOS / "timeout/dropped-syn.chaos.yaml").cases[0]
    for count in COUNTS:
        yield from _side_by_side(short, count, SHORT_S, BARS.get(count))
    if os.geteuid() == 0 and COMPRESSED in COUNTS:
        whole = load(SCENARIOS / "timeout/default-schedule.chaos.yaml").cases[0]
        yield from _side_by_side(whole, COMPRESSED, _wait_of(whole), COMPRESSED_BAR)


def _wait_of(case: Case) -> float:
    """How long one of them waits for the kernel."""
    with Netns() as backend:
        evidence = run(case, backend).evidence
    assert evidence is not None
    return (evidence.outcome.returned_ns - evidence.outcome.started_ns) / 1e9


def _side_by_side(case: Case, count: int, kernel_s: float, bar: float | None) -> Iterator[Row]:
    with Netns() as backend:
        run_one = Pool[Result](lambda one, idle: run(one, backend, idle))
        at_rest, watch = descriptors(), Watch(run_one)
        spent, started = session_s(), time.monotonic()
        with watch:
            results = [future.result() for future in run_one.start([case] * count)]
        wall = time.monotonic() - started
        run_one.stop(lambda: None)
        processor = (session_s() - spent) / count
    wrong = [result.verdict for result in results if result.verdict.kind != "PASS"]
    right = count - len(wrong)
    said = "; ".join(f"{verdict.kind}: {', '.join(verdict.reasons)}" for verdict in wrong[:1])
    limit = kernel_s + count * processor / (os.cpu_count() or 1)
    name = f"{count} dropped SYNs, {case.setting.timing}"
    yield Row(f"{name}: wall", wall, "s", bar, f"{right} of {count} right; the limit is {limit:.2f} s")
    yield Row(f"{name}: processor a scenario", processor * 1000, "ms")
    yield Row(f"{name}: wrong verdicts", len(wrong), "", 0, said)
    yield Row(f"{name}: descriptors at most", watch.descriptors - at_rest, "", None, f"{watch.labs} labs at most")
    if watch.sized:
        yield Row(f"{name}: memory a lab", watch.memory / watch.sized, "MiB", None, "proportional set size")


class Watch:
    """Looks twice a second at how many labs there are; once they grow fewer, at the memory of all that there are."""

    def __init__(self, pool: Pool[Result]) -> None:
        self.descriptors, self.labs, self.sized, self.memory = 0, 0, 0, 0.0
        self._pool = pool
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.5):
            self.descriptors = max(self.descriptors, descriptors())
            labs = len(self._pool.waiting())
            if labs and labs < self.labs and not self.memory:
                self.memory, self.sized = memory_mib(descendants(os.getpid())), labs
            self.labs = max(self.labs, labs)
