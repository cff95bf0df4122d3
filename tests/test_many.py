"""Side by side changes nothing: not what a capture has seen, and no verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from benchmarks.many import LABS, at_once, cases, chosen, nonces, strangers
from chaos.backends.netns import Netns
from chaos.run import Result, run
from tests import shipped

QUICK = 0.5
"""Seconds: an attempt that took longer beside others waited for the kernel, and would wait as long alone."""
WAITING = 4
"""So many of those that wait are run alone, too."""


@pytest.fixture(scope="module")
def netns() -> Iterator[Netns]:
    with Netns() as backend:
        yield backend


@pytest.mark.slow("64 labs, each in the middle of its attempt at the same time")
def test_64_labs_with_the_same_addresses_see_nothing_of_each_other(netns: Netns) -> None:
    alone = {case.node_id: run(case, netns).verdict.kind for case in cases()}
    results = at_once(chosen(LABS), netns)
    assert [result.verdict.kind for result in results] == [alone[result.case.node_id] for result in results]
    assert set(alone.values()) == {"PASS"}
    assert sum(strangers(result) for result in results) == 0


@pytest.mark.slow("the wire of its scenario has a long round trip")
def test_a_stranger_would_be_seen(netns: Netns) -> None:
    one, other = (run(cases()[0], netns) for _ in range(2))
    assert strangers(one) == strangers(other) == 0
    assert strangers(with_a_packet_of(other, one)) > 0


def with_a_packet_of(other: Result, result: Result) -> Result:
    """The server's capture has seen what the other lab's has, too."""
    server = result.case.setting.listen.node
    assert list(nonces(other, server))
    return replace(result, frames={**result.frames, server: (*result.frames[server], *other.frames[server])})


def attempt_s(result: Result) -> float:
    """How long the attempt alone took."""
    assert result.evidence is not None, result.verdict
    outcome = result.evidence.outcome
    return (outcome.returned_ns - outcome.started_ns) / 1e9


@pytest.mark.slow("every quick scenario alone, and some of those that wait for the kernel")
def test_verdicts_are_those_of_a_serial_run(netns: Netns) -> None:
    beside = list(shipped.results().values())
    quick = [result for result in beside if attempt_s(result) < QUICK]
    waiting = [result for result in beside if attempt_s(result) >= QUICK][:WAITING]
    assert quick
    assert waiting
    for result in (*quick, *waiting):
        alone = run(result.case, netns)
        assert alone.verdict.kind == result.verdict.kind, (result.case.node_id, alone.verdict, result.verdict)
