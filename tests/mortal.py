"""A host process that runs labs until it is killed, forked and marked, for tests of what its death leaves behind.

A process that has collected thousands of tests is dear to fork, so that those of a test are forks of a small one.
"""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

from chaos.backends.netns import Netns
from chaos.run import run
from chaos.scenario import Case, load
from tests.leftovers import MARK, Found, gone_after, marked
from tests.load import busy
from tests.source import ROOT

SCENARIOS = ROOT / "scenarios"
FILES = (
    "timeout/dropped-syn",
    "refused/closed-port",
    "handshake/established-before-accept",
    "unreachable/router-route",
)
LONGEST = 0.4
"""Seconds of life: a session is up after 0.1 s, a lab after 0.13 s, a refused connection is through after 0.2 s."""
SLOWEST = 1.5
"""A busy machine takes longer to get as far; no more times than this is waited for it."""
_numbers = count(1)


@dataclass(frozen=True)
class Death:
    """When a process was killed after its start, how long anything of it remained, what never went, what there was, and
    how busy the machine was.
    """

    age: float
    seconds: float
    left: Sequence[str]
    before: Found
    busy: float


def cases() -> list[Case]:
    """What the labs do: wait for a time-out, be refused (by curl, too), hold a queue, meet an ICMP error. No client is
    of a library, whose import would be most of a life: a program in Python is forked by the same process.
    """
    found = [case for name in FILES for case in load(SCENARIOS / f"{name}.chaos.yaml").cases]
    return [case for case in found if case.adapter not in ("httpx", "requests")]


def deaths(times: int, labs: int) -> list[Death]:
    """What became of so many, one after another, in a process of their own; the same moments each time."""
    program = f"from tests.mortal import pickled; pickled({times}, {labs})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: list[Death] = pickle.loads(done.stdout)  # noqa: S301 (we have just written it)
    return found


def pickled(times: int, labs: int) -> None:
    """Their deaths, on standard output."""
    chance, todo = random.Random(20), cases()
    sys.stdout.buffer.write(pickle.dumps([kill_one(todo, chance, labs=labs) for _ in range(times)]))


def kill_one(todo: Sequence[Case], chance: random.Random, patience: float = 5.0, labs: int = 4) -> Death:
    """Fork a host process that runs labs, so many at once, SIGKILL it at a random moment, and look until nothing of it
    is left.
    """
    mark = f"{os.getpid()}-{next(_numbers)}"
    pid = os.fork()
    if pid == 0:
        os.environ[MARK] = mark
        _live(todo, chance.random(), labs)
    age = chance.uniform(0, LONGEST) * min(busy(), SLOWEST)
    time.sleep(age)  # the random moment itself
    before, crowd = marked(mark), busy()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    seconds, left = gone_after(mark, before, patience)
    return Death(age, seconds, left, before, max(crowd, busy()))


def _live(todo: Sequence[Case], seed: float, labs: int) -> None:
    """Run labs, without end, in a process that never returns."""
    try:
        order = random.Random(seed).sample(todo, len(todo))
        with Netns() as backend, ThreadPoolExecutor(labs) as pool:
            while True:
                list(pool.map(lambda case: run(case, backend), order))
    finally:
        os._exit(1)
