"""A thousand host processes with running labs, each killed at a random moment (SIGKILL): what is left, and how long."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from benchmarks.measure import Row, percentile
from tests.mortal import cases, kill_one

TIMES = int(os.environ.get("BENCH_SIGKILLS", "1000"))


def rows() -> Iterator[Row]:
    """Leftovers, and the time until the last trace of a session is gone."""
    chance, todo = random.Random(), cases()
    deaths = [kill_one(todo, chance) for _ in range(TIMES)]
    times = [death.seconds for death in deaths]
    busy = sum(len(death.before.processes) > 4 for death in deaths)
    note = f"{TIMES} kills, {busy} of them with labs running; looked at for 5 s"
    yield Row("SIGKILL: sessions that left something", sum(bool(death.left) for death in deaths), "", 0, note)
    yield Row("SIGKILL: gone after, median", percentile(times, 0.5) * 1000, "ms")
    yield Row("SIGKILL: gone after, p99", percentile(times, 0.99) * 1000, "ms", 100)
    yield Row("SIGKILL: gone after, at most", max(times) * 1000, "ms")
