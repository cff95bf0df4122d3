"""A pytest session that has scenarios: its backend, its pool of running cases, and their end.

All selected cases begin as soon as collection has ended; items wait for theirs in order. A worker of pytest-xdist
learns bit by bit which items are its own, and begins those that it knows of.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import pytest

from chaos import items
from chaos.pool import Pool
from chaos.scenario import Case
from chaos.shared import Shared
from chaos.summary import Progress

if TYPE_CHECKING:
    from chaos import artifacts
    from chaos.run import Idle, Result

TERMINATED: Final = 128 + signal.SIGTERM
PATIENCE: Final = 1.0
"""Seconds of waiting after which a terminal is told."""
REFRESH: Final = 0.2


@dataclass(frozen=True)
class Ended:
    """A case's result and the folder of its artefacts."""

    result: Result
    folder: Path | None


class Terminated(KeyboardInterrupt):
    """SIGTERM, as something that lets every finalizer run."""


def of(config: pytest.Config) -> Live:
    """What this pytest session has running; made when it is first asked for."""
    if KEY not in config.stash:
        config.stash[KEY] = Live(config)
        config.pluginmanager.register(config.stash[KEY], "connect-chaos-live")
    return config.stash[KEY]


class Live:
    """The hooks of a session with scenarios (or with the fixture)."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.backend = Shared(config.getoption("chaos_backend"))
        self.strict: bool = config.getoption("chaos_strict")
        self._keep: artifacts.Keep = config.getoption("chaos_artifacts")
        self._asked: dict[items.CaseItem, Future[Ended]] = {}
        self._all: list[Future[Ended]] = []
        self._markers: dict[str, pytest.MarkDecorator] = {}
        self._stopping = False
        self._terminated = False
        self._sigterm: Any = None

    # -- running

    @cached_property
    def _pool(self) -> Pool[Ended]:
        """For those that have begun; a collection needs none."""
        jobs, backend = self.config.getoption("chaos_jobs"), self.backend
        return Pool(self._work, jobs, backend.labs, lambda case: backend.sharing(case.setting))

    def _work(self, case: Case, idle: Idle) -> Ended:
        from chaos import artifacts  # what a collection does not need
        from chaos.run import run

        with self._beside(case):
            result = run(case, self.backend, idle)
        if self._stopping:
            raise CancelledError  # its lab was taken away
        folder = self.config.invocation_params.dir / artifacts.FOLDER
        return Ended(*artifacts.keep(result, self.backend.of(case.setting), folder, self._keep))

    @contextmanager
    def _beside(self, case: Case) -> Iterator[None]:
        """Keep an exclusive case apart from those of other workers; in this process the pool does."""
        if not self._is_worker():
            yield
            return
        place = os.open(self.config.rootpath, os.O_RDONLY)
        try:
            fcntl.flock(place, fcntl.LOCK_EX if case.exclusive else fcntl.LOCK_SH)
            yield
        finally:
            os.close(place)

    def begin(self, chosen: Iterable[pytest.Item]) -> None:
        """Have these items' cases run, unless they do so already or will not at all."""
        ours = [item for item in chosen if isinstance(item, items.CaseItem) and not self.backend.refuses(item.case)]
        new = [item for item in ours if item not in self._asked]
        if new:
            self._mind_sigterm()
            futures = self._pool.start([item.case for item in new])
            self._asked |= dict(zip(new, futures, strict=True))
            self._all += futures

    def ended(self, item: items.CaseItem) -> Ended:
        """Wait for an item's result. Raises what the run raised; an item that is run again runs anew."""
        self.begin([item])
        future = self._asked.pop(item)
        progress = Progress(self.config)
        if progress.possible and not wait([future], PATIENCE).done:
            with progress:
                while not wait([future], REFRESH).done:
                    left = sum(not one.done() for one in self._all)
                    progress.show(left, len(self._all), self._pool.waiting())
        return future.result()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Collection has ended: begin everything, unless nothing will be run."""
        option = session.config.option
        stopped = session.testsfailed and not option.continue_on_collection_errors
        if not (option.collectonly or option.setuponly or stopped or self._is_worker()):
            self.begin(session.items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """In a worker of pytest-xdist, begin what is known to come."""
        if self._is_worker() and not item.config.option.setuponly:
            self.begin([item, *([nextitem] if nextitem else []), *self._queued(item.session)])

    def _is_worker(self) -> bool:
        return hasattr(self.config, "workerinput")

    def _queued(self, session: pytest.Session) -> Iterator[pytest.Item]:
        """The items that the controller has sent; pytest-xdist (3.7 and later) keeps their numbers in a queue."""
        for plugin in self.config.pluginmanager.get_plugins():
            lock = getattr(getattr(plugin, "torun", None), "lock", None)
            if lock is not None:
                with lock() as queue:
                    yield from [session.items[number] for number in queue if isinstance(number, int)]

    # -- reporting

    def marker(self, name: str, what: str) -> pytest.MarkDecorator:
        """The marker of this name, which is known from now on (--strict-markers)."""
        if name not in self._markers:
            self.config.addinivalue_line("markers", f"{name}: {what}")
            self._markers[name] = getattr(pytest.mark, name)
        return self._markers[name]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Let an item of ours complete its reports."""
        report = yield
        if isinstance(item, items.CaseItem):
            item.complete(report, call.excinfo.value if call.excinfo else None)
        return report

    # -- the end

    def _mind_sigterm(self) -> None:
        """Have SIGTERM clean up as Ctrl-C does; pytest itself runs no finalizer then."""
        main = threading.current_thread() is threading.main_thread()
        if self._sigterm is None and main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            self._sigterm = signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        self._terminated = True
        raise Terminated("SIGTERM")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """After -x, Ctrl-C or SIGTERM: start nothing more and close the labs that run."""
        self._stopping = True
        if self._all:
            self._pool.stop(self._close_if_needed)
        if self._terminated:
            session.exitstatus = TERMINATED

    def _close_if_needed(self) -> None:
        if self._pool.waiting():
            self.backend.close()

    def pytest_unconfigure(self) -> None:
        """End the backend's session."""
        self.backend.close()
        if self._sigterm is not None:
            signal.signal(signal.SIGTERM, self._sigterm)


KEY: Final = pytest.StashKey[Live]()
