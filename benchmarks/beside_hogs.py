"""The shipped scenarios, 200 runs of them, beside processes that take every processor: nothing may be called wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice

from benchmarks.measure import SCENARIOS, Row
from chaos.backends.netns import Netns
from chaos.errors import ToolMissing
from chaos.pool import Pool
from chaos.run import Result, run
from chaos.scenario import load

RUNS = 200
HOGS = 2
INVALID = 0.005


def rows() -> Iterator[Row]:
    """What the verdicts were."""
    cases = [case for file in sorted(SCENARIOS.rglob("*.chaos.yaml")) for case in load(file).cases]
    short = [case for case in cases if case.setting.timing == "short" and not case.setting.proxied]
    with hogs(), Netns() as backend:
        pool = Pool[Result](lambda case, idle: run(case, backend, idle))
        results = []
        for future in pool.start(islice(cycle(short), RUNS)):
            try:
                results.append(future.result())
            except ToolMissing as missing:
                print(f"beside_hogs: left out: {missing}")
        pool.stop(lambda: None)
    kinds = [result.verdict.kind for result in results]
    for result in results:
        if result.verdict.kind != "PASS":
            print(f"beside_hogs: {result.case.node_id}: {result.verdict.kind}: {'; '.join(result.verdict.reasons)}")
    yield Row(f"{len(kinds)} runs beside {HOGS} hogs: wrong verdicts", kinds.count("FAIL"), "", 0)
    yield Row(f"{len(kinds)} runs beside {HOGS} hogs: INVALID", kinds.count("INVALID"), "", INVALID * len(kinds))


@contextmanager
def hogs() -> Iterator[None]:
    """Processes that compute without end."""
    pids = [_hog() for _ in range(HOGS)]
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _hog() -> int:
    pid = os.fork()
    while pid == 0:
        pass
    return pid
