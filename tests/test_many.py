"""Side by side changes nothing: not what a capture has seen, and no verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from benchmarks.many import LABS, at_once, cases, chosen, nonces, strangers
from chaos.backends.netns import Netns
from chaos.run import Result, run
from tests import shipped
from tests.nobody import PYTHON, as_nobody

WAITING = 4
"""So many of those that wait are run alone, too."""
ALONE = """
import json, sys
from chaos.backends.netns import Netns
from chaos.run import run
from tests import shipped

wanted = set(json.load(sys.stdin))
with Netns() as backend:
    ends = {}
    for case in shipped.cases():
        if case.node_id in wanted:
            result = run(case, backend)
            ends[case.node_id] = run(case, backend).verdict if shipped.fell(case, result) else result.verdict
json.dump({name: [verdict.kind, *verdict.reasons] for name, verdict in ends.items()}, sys.stdout)
"""


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


@pytest.mark.slow("every quick scenario alone, and some of those that wait for the kernel")
def test_verdicts_are_those_of_a_serial_run_of_an_ordinary_user() -> None:
    """One after another as nobody, and all at once as root: neither changes a verdict. What falls is run once more, as
    theirs are: the processors have more to do than this. What is of both families is run over one of them, in turn.
    """
    quick, every = shipped.quick(), shipped.results()
    waiting = [result.case for key, result in every.items() if key not in quick][:WAITING]
    todo = [*shipped.in_turn([result.case for result in quick.values()], shipped.of_any_family), *waiting]
    assert {case.setting.family for case in todo} == {"ipv4", "ipv6"}
    assert {case.file for case in todo} >= {result.case.file for result in quick.values()}
    assert waiting
    beside = {case.node_id: every[shipped.key(case)].verdict for case in todo}
    done = as_nobody([*PYTHON, "-c", ALONE], stdin=json.dumps(list(beside)))
    assert done.returncode == 0, done.stderr
    alone = json.loads(done.stdout)
    both = {name: (alone[name], [verdict.kind, *verdict.reasons]) for name, verdict in beside.items()}
    assert {name: ends for name, ends in both.items() if ends[0][0] != ends[1][0]} == {}


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
