"""The predictions of explain, held against what really happened: every shipped scenario, and the faults elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest

from chaos import kinds, wire
from chaos.backends.netns import Netns
from chaos.errors import ToolMissing
from chaos.explain import explain
from chaos.pool import Pool
from chaos.predict import Prediction, predict, schedule
from chaos.run import Result, run
from chaos.scenario import Case, load
from tests.kinds import Inert
from tests.shipped import ROOT, cases, ended, name, side_by_side

WAITS = "waits for the kernel's timers, all scenarios side by side"

BUSY, FOREVER = 0.3, 1e9
"""Seconds that a machine with other work may add; the kernel's timers are farther apart than that."""

PROGRAMS = ("command", "python")
"""Adapters of the user's own code, which does what it likes with a connection."""

ELSEWHERE = {
    "a route of the router that is {kind}": [
        f"{{route: {{at: router, kind: {kind}}}}}"
        for kind in ("unreachable", "prohibit", "blackhole", "throw", "missing")
    ],
    "a route of the client that is {kind}": [
        f"{{route: {{at: client, kind: {kind}}}}}"
        for kind in ("unreachable", "prohibit", "blackhole", "throw", "missing")
    ],
    "the link of {node}": [f"{{link-down: {{at: {node}}}}}" for node in ("client", "router", "server")],
    "{segment} answered at {node}": [
        f"{{{fault}: {{at: {node}, segment: {segment}{more}}}}}"
        for fault, more in (("reset", ""), ("icmp", ", type: host-unreachable"), ("drop", ""))
        for node in ("client", "router", "server")
        for segment in ("syn", "syn-ack", "ack", "data")
    ],
    "{segment} on the wire": [
        f"{{{fault}: {{segment: {segment}{more}}}}}"
        for fault, more in (
            ("drop", ", at: router, nth: 1"),
            ("icmp", ", at: router, type: host-unreachable, nth: 2.."),
            ("icmp", ", at: router, type: 4, nth: 1"),
            ("icmp", ", at: server, type: 12"),
            ("delay", ", by: 400ms"),
            ("delay", ", by: 1.2s, nth: 1"),
            ("delay", ", by: 8s"),
            ("duplicate", ""),
            ("reorder", ", nth: 1"),
            ("corrupt", ", nth: 1"),
            ("corrupt", ", what: checksum"),
            ("truncate", ", keep: 24, nth: 1"),
            ("bandwidth", ", rate: 1000"),
        )
        for segment in ("syn", "syn-ack", "data")
        if (fault, segment, "server" in more) not in (("icmp", "syn-ack", True), ("icmp", "data", True))
    ],
    "a way back that is {kind}": [
        f"{{route: {{at: {node}, kind: {kind}, to: client}}}}"
        for node in ("router", "server")
        for kind in ("unreachable", "prohibit", "blackhole", "throw", "missing")
    ],
    "the neighbour of {node}": [
        f"{{no-neighbour: {{at: {node}{every}}}}}"
        for node in ("router", "client", "server")
        for every in ("", ", every: 1s")
    ],
    "a limit at {node}": [
        f"{{{fault}: {{at: {node}}}}}"
        for fault in ("connection-limit", "conntrack-full")
        for node in ("client", "router", "server")
    ],
    "the listener": [
        *(f"{{{does}: {{at: server, after: {after}}}}}" for does in ("abort", "close") for after in ("accept", "data")),
        "{forget: {at: server, after: data}}",
        "{silent: {at: server}}",
        "{never-accept: {at: server}}",
    ],
}
SCENARIO = """\
# A fault where no shipped scenario has it.
family: {family}
path: {path}
client: {{use: socket, mode: timeout, timeout: 3600ms}}
faults: [{fault}]
expect: {{error: ok}}
"""


def named(key: tuple[str, str]) -> str:
    return "::".join(key)


SHIPPED = {(name(case.file), case.name): case for case in cases()}


def elsewhere() -> list[tuple[str, str, str]]:
    """(fault, family, path) of the faults in places where no scenario has them, the families in turn."""
    faults = [fault for group in ELSEWHERE.values() for fault in group]
    near = ("reset", "icmp", "no-neighbour", "limit", "conntrack")
    direct = [fault for fault in faults if "server" in fault and any(kind in fault for kind in near)]
    routed = [(it, family, "routed") for it, family in zip(faults, cycle(("ipv4", "ipv6")), strict=False)]
    return routed + [(it, "ipv4", "direct") for it in direct]


Start = Callable[[Iterable[Case]], list[Future[Result]]]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Runs cases side by side."""
    with Netns() as session:
        pool = Pool[Result](lambda case, idle: run(case, session, idle))
        yield pool.start
        pool.stop(lambda: None)


def differences(prediction: Prediction, result: Result) -> list[str]:
    """What of the prediction did not come true."""
    if result.evidence is None:
        return list(result.verdict.reasons)
    outcome = result.evidence.outcome
    found = []
    if prediction.errors and outcome.error not in prediction.errors:
        found.append(f"error: foretold {prediction.errors}, got {outcome.error}")
    if prediction.phase and outcome.phase != prediction.phase:
        found.append(f"phase: foretold {prediction.phase}, got {outcome.phase}")
    low, high = prediction.elapsed
    if outcome.elapsed is None or not low <= outcome.elapsed <= (high or FOREVER) + BUSY:
        found.append(f"elapsed: foretold {prediction.elapsed}, got {outcome.elapsed}")
    if prediction.wire is not None:
        packets = result.evidence.packets[result.evidence.client]
        found += [f"wire: {problem}" for problem in wire.match([wire.parse(it) for it in prediction.wire], packets)]
    return found


@pytest.mark.slow(WAITS)
@pytest.mark.parametrize("key", SHIPPED, ids=named)
def test_what_was_foretold_happened(key: tuple[str, str]) -> None:
    """A skip where this machine or this user cannot have the case; on a busy machine it is tried once more."""
    case, result = SHIPPED[key], ended()[key]
    if isinstance(result, ToolMissing):
        pytest.skip(str(result))
    if differences(predict(case), result):
        [result] = side_by_side([case])
    assert isinstance(result, Result)
    assert differences(predict(case), result) == []
    assert result.schedule in (None, schedule(case.setting, case.client)), "the sysctls in force are those of the lab"


@pytest.mark.parametrize("key", SHIPPED, ids=named)
def test_the_prediction_is_the_scenario_s_own_expectation_and_the_text_says_it(key: tuple[str, str]) -> None:
    case = SHIPPED[key]
    prediction = predict(case)
    if prediction.errors or case.adapter not in PROGRAMS:
        assert case.expect.error in prediction.errors
    assert prediction.phase in (None, case.expect.phase) or case.expect.phase is None
    text = explain(case)
    for error in prediction.errors:
        assert error in text
    for kind, _ in case.faults:
        assert f"\n{kind}" in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.slow(WAITS)
def test_faults_elsewhere_are_foretold_too(start: Start, tmp_path: Path) -> None:
    """Each fault at every node and of every kind; what may end in two ways need only end in one of them.

    On a busy machine a RST may overtake the wake-up of connect(): what went otherwise once is tried once more.
    """
    tmp_path.chmod(0o755)
    cases = {}
    for number, (fault, family, path) in enumerate(elsewhere()):
        file = tmp_path / f"{number}.chaos.yaml"
        file.write_text(SCENARIO.format(fault=fault, family=family, path=path))
        cases[f"{fault} {family} {path}"] = load(file).cases[0]
    assert unforetold({name: cases[name] for name in unforetold(cases, start)}, start) == {}


def unforetold(cases: Mapping[str, Case], start: Start) -> dict[str, list[str]]:
    """The cases that did not go as foretold, and in what."""
    running = dict(zip(cases, start(cases.values()), strict=True))
    wrong = {name: differences(predict(cases[name]), result.result()) for name, result in running.items()}
    return {name: problems for name, problems in wrong.items() if problems}


def test_what_a_program_makes_of_a_connection_is_not_foretold() -> None:
    case, _ = load(ROOT / "scenarios/reset/aborted-connection.chaos.yaml").cases
    assert predict(case).errors == ("ECONNRESET",)
    for adapter, parameters in (("python", {"python": "a:b"}), ("command", {"command": ["curl", "{url}"]})):
        theirs = replace(case, client=kinds.client(adapter, parameters), adapter=adapter)
        assert predict(theirs).errors == ()
        assert "not foretold" in explain(theirs)


@pytest.mark.parametrize(("timeout", "errors"), [(None, ("hang",)), (0.5, ("timeout",))])
def test_a_library_sends_a_request_and_waits_for_its_answer(timeout: float | None, errors: tuple[str, ...]) -> None:
    case = SHIPPED["timeout/never-answered", "no-clock-ipv4"]
    parameters = {} if timeout is None else {"timeout": f"{timeout}s"}
    for adapter in ("requests", "httpx"):
        prediction = predict(replace(case, client=kinds.client(adapter, parameters), adapter=adapter))
        assert (prediction.errors, prediction.phase) == (errors, "receive")
        assert prediction.elapsed[0] >= 0.99 * (timeout or 3.0)


def test_a_fault_that_does_not_say_what_it_does_foretells_nothing() -> None:
    case, _ = load(ROOT / "scenarios/reset/aborted-connection.chaos.yaml").cases
    assert predict(replace(case, faults=(("theirs", Inert()),))).errors == ()
