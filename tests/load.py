"""How busy the machine is, for tests that measure time: a slow test is a defect, a slow neighbour is not."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path


def busy() -> float:
    """How much longer things take than on a machine at rest: by what there is to run, of late and at this moment."""
    now = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    return max(1.0, max(os.getloadavg()[0], now) / (os.cpu_count() or 1))


def worked(work: Callable[[], object]) -> float:
    """Seconds of processor that some work takes: not what other threads do, nor the garbage of the tests before."""
    gc.collect()
    started = time.thread_time()
    work()
    return time.thread_time() - started
