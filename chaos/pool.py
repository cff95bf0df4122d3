"""Cases side by side: a thread for each lab, and few of them at work at once.

Kernel timers are free and processors are not: a case has its turn while its lab starts, its legs run and its evidence
is checked, and gives it away while it waits. What will wait for seconds is begun before everything else, the longest
first, so that the end of a suite is not one of them alone. Turns go round in that order, but whoever comes back from
its attempt goes before whoever starts to be done soon, so that labs end soon. A case that is `exclusive` runs when no
other does.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from chaos.run import Idle
    from chaos.scenario import Case

T = TypeVar("T")
LABS: Final = 320
"""Labs alive at once, at most."""
WORTH: Final = 40
"""Cases that share one lab, one after another, before one more is worth its start."""
OF_A_LAB: Final = 2
"""File descriptors of a lab: the line to its agents, and the status of its process, which others may share."""
SPARE: Final = 128
"""Those that are left to everything else."""


def auto_jobs() -> int:
    """Turns at once when nobody says how many: three for each processor that we may use: legs wait for the wire."""
    return 3 * len(os.sched_getaffinity(0))


def auto_labs() -> int:
    """Labs that may live at once, by the file descriptors."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return LABS
    return max(1, min(LABS, (limit - SPARE) // OF_A_LAB))


class Turns:
    """At most so many at work at once. First come, first served: those who start to wait for long before those who come
    back, and those before the others who start.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._lock = threading.Lock()
        self._patient: deque[threading.Event] = deque()
        self._returning: deque[threading.Event] = deque()
        self._starting: deque[threading.Event] = deque()

    @contextmanager
    def turn(self, patient: bool = False) -> Iterator[None]:
        """Be at work. `patient`: and idle for long."""
        self._take(self._patient if patient else self._starting)
        try:
            yield
        finally:
            self._give()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Within a turn: let another one work."""
        self._give()
        try:
            yield
        finally:
            self._take(self._returning)

    def _take(self, queue: deque[threading.Event]) -> None:
        mine = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                return
            queue.append(mine)
        mine.wait()

    def _give(self) -> None:
        with self._lock:
            queue = self._patient or self._returning or self._starting
            if queue:
                queue.popleft().set()
            else:
                self._free += 1


@dataclass(eq=False)
class Pending(Generic[T]):
    """A case that was asked for. `since` is when its turn came (time.monotonic()), None until then."""

    case: Case
    result: Future[T] = field(default_factory=Future)
    since: float | None = None
    shares: Hashable = None


class Pool(Generic[T]):
    """Runs cases in threads of its own. `work` is given a case and what to enter while it waits.

    `jobs` are at work at once, in at most `labs` labs.
    `sharing`: what is equal in cases that can have the same lab, which is dear, one after another; None: nothing is.
    """

    def __init__(
        self,
        work: Callable[[Case, Idle], T],
        jobs: int | None = None,
        labs: int | None = None,
        sharing: Callable[[Case], Hashable] = lambda _: None,
    ) -> None:
        self._labs, self._sharing = labs or LABS, sharing
        self._waiting: Counter[Hashable] = Counter()
        self._work, self._turns = work, Turns(jobs or auto_jobs())
        self._lock = threading.Lock()
        self._shared: deque[Pending[T]] = deque()
        self._exclusive: deque[Pending[T]] = deque()
        self._running: list[Pending[T]] = []
        self._threads: set[threading.Thread] = set()
        self._stopped = False

    def start(self, cases: Iterable[Case]) -> list[Future[T]]:
        """Have these run; their results in the same order. A result is cancelled when the pool is stopped before."""
        asked = [Pending[T](case, shares=self._sharing(case)) for case in cases]
        with self._lock:
            self._waiting.update(one.shares for one in asked if not one.case.exclusive)
            for one in sorted(asked, key=lambda one: -int(one.case.setting.waits)):
                (self._exclusive if one.case.exclusive else self._shared).append(one)
            self._fill()
        return [one.result for one in asked]

    def waiting(self) -> list[tuple[Case, float]]:
        """The cases that have begun and have no result yet, the oldest first, with the seconds since they began."""
        now = time.monotonic()
        with self._lock:
            begun = [(one.case, now - one.since) for one in self._running if one.since is not None]
        return sorted(begun, key=lambda each: -each[1])

    def stop(self, close: Callable[[], None]) -> None:
        """Start nothing more, `close` what the labs live from, and return when the last one has ended."""
        with self._lock:
            self._stopped = True
            waiting = [*self._shared, *self._exclusive]
            self._shared.clear()
            self._exclusive.clear()
            threads = list(self._threads)
        for one in waiting:
            one.result.cancel()
        close()
        for thread in threads:
            thread.join()

    def _fill(self) -> None:
        """Start what may start now; the lock is held."""
        while not self._stopped and (one := self._next()) is not None:
            self._running.append(one)
            thread = threading.Thread(target=self._run, args=(one,), name=one.case.node_id, daemon=True)
            self._threads.add(thread)
            thread.start()

    def _next(self) -> Pending[T] | None:
        if len(self._running) == 1 and self._running[0].case.exclusive:  # it is alone
            return None
        if self._shared:
            one = next(filter(self._is_worth_it, self._shared), None)
            if one is None or len(self._running) >= min(self._labs, auto_labs()):
                return None
            self._shared.remove(one)
            self._waiting[one.shares] -= 1
            return one
        return self._exclusive.popleft() if self._exclusive and not self._running else None

    def _is_worth_it(self, one: Pending[T]) -> bool:
        """Whether it should not rather wait for a lab that others have."""
        if one.shares is None:
            return True
        labs = sum(other.shares == one.shares for other in self._running)
        return labs * WORTH < self._waiting[one.shares] or not labs

    def _run(self, one: Pending[T]) -> None:
        try:
            with self._turns.turn(patient=one.case.setting.patient):
                one.since = time.monotonic()
                result = self._work(one.case, self._turns.idle)
        except BaseException as error:  # told to whoever asked, in another thread
            self._done(one)
            one.result.set_exception(error)
        else:
            self._done(one)
            one.result.set_result(result)

    def _done(self, one: Pending[T]) -> None:
        with self._lock:
            self._running.remove(one)
            self._threads.discard(threading.current_thread())
            self._fill()
