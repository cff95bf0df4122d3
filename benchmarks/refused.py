"""`refused/closed-port`, our socket, end to end in a running session: fresh lab, three legs, capture, verdict."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator

from benchmarks.measure import SCENARIOS, Row, machine_s, median_ms, percentile, session_s
from chaos.backends.netns import Netns
from chaos.run import run
from chaos.scenario import load

RUNS = 100


def rows() -> Iterator[Row]:
    """Wall and processor time of one run, and where the wall time goes."""
    case = next(case for case in load(SCENARIOS / "refused/closed-port.chaos.yaml").cases if case.adapter == "socket")
    walls: list[float] = []
    rests: list[float] = []
    laps: dict[str, list[float]] = defaultdict(list)
    with Netns() as backend:
        run(case, backend)  # the first one imports what the others use
        host, session, machine = time.process_time(), session_s(), machine_s()
        for _ in range(RUNS):
            started = time.monotonic()
            result = run(case, backend)
            walls.append(time.monotonic() - started)
            assert result.verdict.kind == "PASS", result.verdict.reasons
            rests.append(walls[-1] - sum(result.breakdown.values()))
            for name, seconds in result.breakdown.items():
                laps[name].append(seconds)
        host, session, machine = time.process_time() - host, session_s() - session, machine_s() - machine
    yield Row("refused: wall, median", median_ms(walls), "ms", 60, f"{RUNS} runs, one after another; issue 3: 150")
    yield Row("refused: wall, p95", percentile(walls, 0.95) * 1000, "ms")
    yield Row("refused: processor", session / RUNS * 1000, "ms", 30, "this process and the session")
    yield Row("refused: processor, this process", host / RUNS * 1000, "ms")
    yield Row("refused: processor, whole machine", machine / RUNS * 1000, "ms", None, "kernel threads, neighbours")
    for name, times in laps.items():
        yield Row(f"refused: of it {name}", median_ms(times), "ms")
    yield Row("refused: of it the rest", median_ms(rests), "ms")
