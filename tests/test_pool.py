"""The pool alone, with work that is no lab: who runs beside whom, in which order, and what stopping leaves."""

from __future__ import annotations

import resource
import threading
from collections import Counter
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from chaos import pool
from chaos.clients.socket import Socket
from chaos.model import Service, Setting, Topology
from chaos.pool import Pool, Turns
from chaos.run import Idle
from chaos.scenario import Case, Expect

PATIENCE = 10.0
SERVICES = {name: Service(name) for name in ("client", "server")}


def case(name: str, *, exclusive: bool = False) -> Case:
    return Case(
        file=Path("scenarios/a/b.chaos.yaml"),
        name=name,
        line=1,
        setting=Setting(Topology("client-server", "compose.yaml", SERVICES)),
        faults=(),
        client=Socket(),
        adapter="socket",
        probe="client",
        expect=Expect(),
        tags=(),
        xfail=None,
        exclusive=exclusive,
        lines={},
    )


def test_all_wait_at_once_though_one_works_at_a_time() -> None:
    """Each would wait forever if the others did not wait beside it."""
    together = threading.Barrier(20, timeout=PATIENCE)
    working: list[str] = []
    most: list[int] = []

    def work(case: Case, idle: Idle) -> str:
        working.append(case.name)
        most.append(len(working))
        working.remove(case.name)
        with idle():
            together.wait()
        return case.name

    names = [str(number) for number in range(20)]
    results = Pool(work, 1).start(map(case, names))
    assert [result.result(PATIENCE) for result in results] == names
    assert max(most) == 1


def test_who_comes_back_goes_before_who_starts() -> None:
    turns, order, answered = Turns(1), list[str](), threading.Event()
    asked = threading.Event()

    def returning() -> None:
        with turns.turn():
            with turns.idle():
                asked.set()
                answered.wait(PATIENCE)
            order.append("returning")

    def starting() -> None:
        with turns.turn():
            order.append("starting")

    first = threading.Thread(target=returning)
    first.start()
    assert asked.wait(PATIENCE)
    with turns.turn():
        second = threading.Thread(target=starting)
        second.start()
        until(lambda: len(turns._starting) == 1)
        answered.set()
        until(lambda: len(turns._returning) == 1)
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert order == ["returning", "starting"]


def until(condition: object) -> None:
    """Spin: what is waited for is another thread's next step."""
    assert callable(condition)
    for _ in range(10_000_000):
        if condition():
            return
    raise AssertionError("in vain")


def test_an_exclusive_case_is_alone() -> None:
    running: set[str] = set()
    beside: dict[str, int] = {}

    def work(case: Case, idle: Idle) -> None:
        running.add(case.name)
        with idle():
            beside[case.name] = len(running)
        running.discard(case.name)

    mixed = [case("first", exclusive=True), case("a"), case("b"), case("last", exclusive=True), case("c")]
    for result in Pool(work, 4).start(mixed):
        result.result(PATIENCE)
    assert beside["first"] == beside["last"] == 1


def test_stopping_cancels_what_has_not_begun_and_waits_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LABS", 1)
    begun, closed, ended = threading.Event(), threading.Event(), threading.Event()

    def work(case: Case, idle: Idle) -> None:
        with idle():
            begun.set()
            assert closed.wait(PATIENCE)
        ended.set()

    runs: Pool[None] = Pool(work, 1)
    first, second = runs.start([case("first"), case("second")])
    assert begun.wait(PATIENCE)
    assert [name.name for name, _ in runs.waiting()] == ["first"]
    runs.stop(closed.set)
    assert ended.is_set()
    assert first.result(0) is None
    with pytest.raises(CancelledError):
        second.result(0)


def test_what_a_case_raises_is_told_to_who_asked() -> None:
    def work(case: Case, idle: Idle) -> None:
        raise KeyError(case.name)

    (result,) = Pool(work).start([case("broken")])
    with pytest.raises(KeyError, match="broken"):
        result.result(PATIENCE)


def _together(cases: list[Case], sharing: dict[str, str], labs: int, meet: int = 1) -> tuple[list[str], dict[str, int]]:
    """The order in which they begin, and how many of what they share are at work at once, at most.

    The first of them go on when so many have met.
    """
    begun, now, most = list[str](), Counter[str](), dict[str, int]()
    lock, met = threading.Lock(), threading.Barrier(meet, timeout=PATIENCE)
    first = {one.name for one in cases[:meet]}

    def work(one: Case, idle: Idle) -> None:
        kind = sharing[one.name]
        with lock:
            begun.append(one.name)
            now[kind] += 1
            most[kind] = max(most.get(kind, 0), now[kind])
        with idle():
            if one.name in first:
                met.wait()
        with lock:
            now[kind] -= 1

    for result in Pool(work, 1, labs, lambda one: sharing[one.name]).start(cases):
        result.result(PATIENCE)
    return begun, most


def test_what_can_share_a_lab_waits_for_it() -> None:
    kinds = {"a1": "a", "b1": "b", "a2": "a", "c1": "c", "a3": "a"}
    begun, most = _together([case(name) for name in kinds], kinds, 3, 2)
    assert most == {"a": 1, "b": 1, "c": 1}, "no lab beside one that will do"
    assert begun.index("c1") < begun.index("a3"), "and nobody waits behind those who wait for a lab"
    assert [name for name in begun if kinds[name] == "a"] == ["a1", "a2", "a3"]


def test_many_that_share_are_worth_one_more_lab() -> None:
    kinds = {str(number): "a" for number in range(2 * pool.WORTH + 3)}
    _, most = _together([case(name) for name in kinds], kinds, 8, 3)
    assert most == {"a": 3}, "one for each forty that still wait"


def test_labs_are_bounded_by_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (512, 4096))
    assert pool.auto_labs() == (512 - pool.SPARE) // 2
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 20, 1 << 20))
    assert pool.auto_labs() == pool.LABS
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8, 8))
    assert pool.auto_labs() == 1
