"""The pool, most of all with work that is no lab: who runs beside whom, in which order, and what stopping leaves."""

from __future__ import annotations

import resource
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from chaos import pool
from chaos.backends.netns import Netns
from chaos.clients.socket import Socket
from chaos.model import SLOW, Lab, Outcome, Service, Setting, Topology
from chaos.pool import Pool, Turns
from chaos.ranges import Window
from chaos.run import Idle, run
from chaos.scenario import Case, Expect
from chaos.scenario.points import waits
from chaos.topology import find

PATIENCE = 10.0
SERVICES = {name: Service(name) for name in ("client", "server")}


def case(name: str, *, exclusive: bool = False, elapsed: Window | Literal["kernel"] | None = None) -> Case:
    expect = Expect(elapsed=elapsed)
    return Case(
        file=Path("scenarios/a/b.chaos.yaml"),
        name=name,
        line=1,
        setting=Setting(Topology("client-server", "compose.yaml", SERVICES), waits=waits(expect, "short")),
        faults=(),
        client=Socket(),
        adapter="socket",
        probe="client",
        expect=expect,
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


def test_who_starts_to_wait_for_long_goes_before_who_comes_back_and_he_before_who_starts() -> None:
    """One turn, which is taken while the three ask for it: the last to have it first, the first to have it last."""
    turns, order = Turns(1), list[str]()
    asked, answered = threading.Event(), threading.Event()

    def returning() -> None:
        with turns.turn():
            with turns.idle():
                asked.set()
                answered.wait(PATIENCE)
            order.append("returning")

    def starting(name: str) -> None:
        with turns.turn(patient=name == "patient"):
            order.append(name)

    back = threading.Thread(target=returning)
    soon, patient = (threading.Thread(target=starting, args=(name,)) for name in ("soon done", "patient"))
    back.start()
    assert asked.wait(PATIENCE)
    with turns.turn():
        soon.start()
        until(lambda: len(turns._starting) == 1)
        answered.set()
        until(lambda: len(turns._returning) == 1)
        patient.start()
        until(lambda: len(turns._patient) == 1)
    for thread in (back, soon, patient):
        thread.join(PATIENCE)
    assert order == ["patient", "returning", "soon done"]


def test_the_longest_begin_first_and_all_else_as_it_was_asked_for() -> None:
    begun: list[str] = []
    asked = [
        case("a"),
        case("b", elapsed=Window(None, 0.5)),
        case("three seconds", elapsed="kernel"),
        case("c", elapsed=Window(0.2, None)),
        case("five seconds", elapsed=Window(5.0, None)),
        case("three more", elapsed=Window(3.2, 4.0)),
    ]
    results = Pool(lambda one, _: begun.append(one.name), 1, 1).start(asked)
    for result in results:
        result.result(PATIENCE)
    assert begun == ["five seconds", "three seconds", "three more", "a", "b", "c"]


@pytest.mark.slow("three legs over a slow wire")
@pytest.mark.parametrize(("rtt", "idle_legs"), [(SLOW, 3), (SLOW / 10, 1)])
def test_legs_over_a_slow_wire_are_no_work(rtt: float, idle_legs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All three of them wait for it; over a quick one the attempt alone may."""
    away, legs = threading.Event(), list[bool]()
    dial = Socket.attempt

    def attempt(client: Socket, lab: Lab) -> Outcome:
        legs.append(away.is_set())
        return dial(client, lab)

    @contextmanager
    def idle() -> Iterator[None]:
        away.set()
        yield
        away.clear()

    monkeypatch.setattr(Socket, "attempt", attempt)
    healthy = case("healthy")
    topology = find("client-server", Path.cwd())
    setting = Setting(topology, rtt=rtt)
    with Netns() as backend:
        assert run(replace(healthy, setting=setting, expect=Expect(error="ok")), backend, idle).verdict.kind == "PASS"
    assert (len(legs), sum(legs)) == (3, idle_legs)
    assert not away.is_set()


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
