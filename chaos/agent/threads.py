"""Threads that begin when they like.

Starting one of threading's waits until it runs: two switches, and the interpreter's lock to and fro, for each of the
dozen threads of a run.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable

alive: set[Thread] = set()
"""Those that have not ended."""


class Thread:
    """A thread that does this work; what it raises goes to stderr."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._running = _thread.allocate_lock()
        self._running.acquire()
        alive.add(self)
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self._work()
        finally:
            alive.discard(self)
            self._running.release()

    def ended(self, timeout: float = -1) -> bool:
        """Wait until it has ended, for ever or for so many seconds; whether it has."""
        ended = self._running.acquire(timeout=timeout)
        if ended:
            self._running.release()
        return ended
