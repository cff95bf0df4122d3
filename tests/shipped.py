"""The shipped scenarios, each run once for all the tests that ask what really happened.

Where pytest runs `scenarios/` as well, that run is the one; where it has several workers, it is one of theirs.
"""

from __future__ import annotations

import fcntl
import pickle
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

from chaos import toxiproxy
from chaos.backends.netns import Netns
from chaos.errors import ToolMissing
from chaos.items import CaseItem
from chaos.pool import Pool
from chaos.run import Backend, Idle, Result, run
from chaos.scenario import Case, load

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
SCENARIOS = ROOT / "scenarios"
QUICK = 0.5
"""Seconds: an attempt that took longer beside others waited for the kernel, and would wait as long alone."""


def files() -> list[Path]:
    """Every shipped scenario file."""
    return sorted(SCENARIOS.rglob("*.chaos.yaml"))


def name(file: Path) -> str:
    """`handshake/three-way`."""
    return str(file.relative_to(SCENARIOS)).removesuffix(".chaos.yaml")


@cache
def cases() -> tuple[Case, ...]:
    """Every case of every shipped scenario."""
    return tuple(case for file in files() for case in load(file).cases)


def can_run(case: Case) -> bool:
    """Whether this machine has what the case needs: Toxiproxy may be missing where there is no Go."""
    if not case.setting.proxied:
        return True
    try:
        return bool(toxiproxy.server())
    except ToolMissing:
        return False


Ended = Result | ToolMissing


def end_of(case: Case, backend: Backend, idle: Idle = nullcontext) -> Ended:
    """What becomes of a case; a tool that is missing is an end, too."""
    try:
        return run(case, backend, idle)
    except ToolMissing as missing:
        return missing


def side_by_side(chosen: Sequence[Case]) -> list[Ended]:
    """What becomes of these cases, all at once, so that their kernel waits do not add up."""

    with Netns() as backend:
        pool = Pool[Ended](lambda case, idle: end_of(case, backend, idle))
        found = [future.result() for future in pool.start(chosen)]
        pool.stop(lambda: None)
    return found


class Scenarios:
    """What becomes of the scenarios: a plugin of pytest that is told of those that are items.

    With a folder, which nobody else can write: of several processes that have it one runs them, and the others wait.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = folder and folder / "ended"
        self._lock = (folder / "lock").open("w") if folder else None
        self._seen: dict[tuple[str, str], Ended] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """They run here: the others wait."""
        if is_shipped(item) and len(self._seen) < len(cases()):
            self._hold(fcntl.LOCK_EX)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Remember what became of one; the others read it when there is one of each."""
        report = yield
        if isinstance(item, CaseItem) and is_shipped(item) and item._ended is not None and call.when == "setup":
            self._seen[key(item.case)] = item._ended.result
            if len(self._seen) == len(cases()):
                self.ended()
        return report

    def pytest_sessionfinish(self) -> None:
        """Nobody waits for a process that runs nothing any more."""
        self._hold(fcntl.LOCK_UN)

    def close(self) -> None:
        """The run has ended."""
        if self._lock is not None:
            self._lock.close()

    def ended(self) -> list[Ended]:
        """What became of all cases; those that nobody has run are run now, and what fell beside others once more: its
        own item tells of that, and is run again alone; whoever asks for all of them need not be.
        """
        self._hold(fcntl.LOCK_EX)
        try:
            if self._file is not None and self._file.exists():
                found: list[Ended] = pickle.loads(self._file.read_bytes())  # noqa: S301 (a worker of this run wrote it)
                return found
            self._run([case for case in cases() if key(case) not in self._seen])
            self._run([case for case in cases() if fell(case, self._seen[key(case)])])
            found = [self._seen[key(case)] for case in cases()]
            if self._file is not None:
                self._file.write_bytes(pickle.dumps(found))
            return found
        finally:
            self._hold(fcntl.LOCK_UN)

    def _run(self, chosen: Sequence[Case]) -> None:
        if chosen:
            self._seen |= zip(map(key, chosen), side_by_side(chosen), strict=True)

    def _hold(self, how: int) -> None:
        if self._lock is not None:
            fcntl.flock(self._lock, how)


def fell(case: Case, end: Ended) -> bool:
    """Whether a case ended otherwise than it says of itself."""
    return isinstance(end, Result) and end.verdict.kind != ("FAIL" if case.xfail else "PASS")


def is_shipped(item: pytest.Item) -> bool:
    """Whether an item is a case of a shipped scenario."""
    return isinstance(item, CaseItem) and item.path.is_relative_to(SCENARIOS)


def key(case: Case) -> tuple[str, str]:
    """(scenario, case)."""
    return name(case.file), case.name


def of_any_family(case: Case) -> Hashable:
    """What the cases of a scenario that differ in nothing but their families have in common."""
    return case.file, case.name.replace(case.setting.family, "")


def in_turn(those: Iterable[T], alike: Callable[[T], Hashable]) -> list[T]:
    """Of those that are alike one: the first of the first, the second of the next, and so on."""
    groups: dict[Hashable, list[T]] = {}
    for one in those:
        groups.setdefault(alike(one), []).append(one)
    return [group[number % len(group)] for number, group in enumerate(groups.values())]


scenarios = Scenarios()
"""Those of this process; pytest has others where it runs."""


@cache
def ended() -> Mapping[tuple[str, str], Ended]:
    """What became of every case, by (scenario, case)."""
    return dict(zip(map(key, cases()), scenarios.ended(), strict=True))


def ended_as(case: Case) -> Ended:
    """What became of a case."""
    return ended()[key(case)]


@cache
def results() -> Mapping[tuple[str, str], Result]:
    """What happened in the kernel's own time, where this machine and this user have what the case needs."""
    ran = {key: found for key, found in ended().items() if isinstance(found, Result)}
    return {key: found for key, found in ran.items() if found.case.setting.timing != "compressed"}


@cache
def quick() -> Mapping[tuple[str, str], Result]:
    """Those of the results whose attempts did not wait for the kernel."""
    return {key: result for key, result in results().items() if attempt_s(result) < QUICK}


def attempt_s(result: Result) -> float:
    """How long the attempt alone took."""
    assert result.evidence is not None, result.verdict
    outcome = result.evidence.outcome
    return (outcome.returned_ns - outcome.started_ns) / 1e9
