"""What `validate` refuses because it cannot be, and what it warns of because explain foretells something else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.cli import main
from chaos.doubts import doubts
from chaos.errors import ScenarioError
from chaos.scenario import load
from chaos.scenario.language import PYTESTS_OWN

Write = Callable[[str], Path]

ERRORS = {
    "a fault behind Toxiproxy that should reach connect()": (
        "topology: toxiproxy\nfaults: [{drop: {at: server, segment: syn}}]\nexpect: {error: ETIMEDOUT}",
        "2:22: this drop is behind Toxiproxy, which accepts before it dials: the client's connect() succeeds, and ",
    ),
    "a toxic that should reach connect()": (
        "topology: toxiproxy\nfaults: [{toxic: {type: latency, latency: 1s}}]\nexpect: {error: ETIMEDOUT}",
        "2:25: no toxic touches connect(), so ETIMEDOUT cannot come of one; a fault at 'toxiproxy' can cause it",
    ),
    "a RST from a queue that is simply full": (
        "faults: [{backlog-full: {at: server}}]\nexpect: {error: ECONNREFUSED}",
        "1:30: a full accept queue drops the SYN, whatever tcp_abort_on_overflow says: there will be no RST. ",
    ),
    "an IPv6 message over IPv4": (
        "faults: [{icmp: {at: router, type: 1, code: 0}}]\nexpect: {error: ENETUNREACH}",
        "1:36: ... over ipv4",
    ),
    "an IPv4 message over IPv6": (
        "family: ipv6\nfaults: [{icmp: {at: router, type: host-prohibited}}]\nexpect: {error: EHOSTUNREACH}",
        "2:36: ... over ipv6",
    ),
    "steps that make no sense": (
        "client: {use: socket, steps: [send]}\nexpect: {error: ok}",
        "1:30: the first step must be `connect`",
    ),
    "requests quicker than the kernel's clock": (
        "faults: [{no-neighbour: {at: client, every: 1ms}}]\nexpect: {error: EHOSTUNREACH}",
        "1:45: expected 20 ms or more: the kernel counts in ticks",
    ),
}

WARNINGS = {
    "ARP that takes longer than the SYN schedule": (
        "faults: [{no-neighbour: {at: client, every: 1s}}]\nexpect: {error: EHOSTUNREACH}",
        "2:17: warning: EHOSTUNREACH is a race: `connect-chaos explain` foretells EHOSTUNREACH or ETIMEDOUT in connect",
    ),
    "another error than explain's": (
        "faults: [{reset: {at: server, segment: syn}}]\nexpect: {error: ETIMEDOUT}",
        "2:17: warning: ETIMEDOUT is not what will come: `connect-chaos explain` foretells ECONNREFUSED in connect",
    ),
    "another phase than explain's": (
        "faults: [{abort: {at: server, after: data}}]\nexpect: {error: ECONNRESET, phase: send}",
        "2:36: warning: ECONNRESET will come in receive: `connect-chaos explain` foretells ECONNRESET in receive",
    ),
    "a case's own expectation, at its place": (
        "faults: [closed-port: {at: server}]\nexpect: {error: ECONNREFUSED}\ncases: {a: {}, b: {expect: {error: ok}}}",
        "3:36: warning: ok is not what will come: ",
    ),
    "a round trip longer than compressed time's unit": (
        "timing: compressed\nlink: {rtt: 20ms}\nexpect: {error: ok}",
        "2:13: warning: a round trip of 20 ms is longer than the unit of compressed time (8 ms): SYNs are sent again",
    ),
}

FINE = {
    "ARP given up long before": "faults: [{no-neighbour: {at: client}}]\nexpect: {error: EHOSTUNREACH}",
    "the ETIMEDOUT of a full queue": "faults: [{backlog-full: {at: server}}]\nexpect: {error: ETIMEDOUT}",
    "in front of Toxiproxy": (
        "topology: toxiproxy\nfaults: [{drop: {at: toxiproxy, segment: syn}}]\nexpect: {error: ETIMEDOUT}"
    ),
    "a client that is known to fail": (
        "xfail: it says so\nfaults: [{closed-port: {at: server}}]\nexpect: {error: ETIMEDOUT}"
    ),
    "a program's own affair": (
        "faults: [{abort: {at: server, after: data}}]\nclient: {command: [curl, '{url}']}\nexpect: {error: EPROTO}"
    ),
    "a short round trip in compressed time": "timing: compressed\nlink: {rtt: 8ms}\nexpect: {error: ok}",
    "a direct path in compressed time": "timing: compressed\npath: direct\nexpect: {error: ok}",
    "a long round trip in the kernel's own": "link: {rtt: 200ms}\nexpect: {error: ok}",
    "no error at all": "faults: [{closed-port: {at: server}}]\nexpect: {surfaces: {type: OSError}}",
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes `a.chaos.yaml` in a current directory of the test's own."""
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> Path:
        path = Path("a.chaos.yaml")
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.mark.parametrize("what", ERRORS)
def test_what_cannot_be_is_refused(write: Write, what: str) -> None:
    text, expected = ERRORS[what]
    with pytest.raises(ScenarioError) as caught:
        load(write(text), doubt=doubts)
    [problem] = caught.value.problems
    place, _, words = expected.partition("... ")
    assert str(problem).startswith(f"a.chaos.yaml:{place}")
    assert words in problem.message
    assert problem.severity == "error"


@pytest.mark.parametrize("what", WARNINGS)
def test_what_will_not_be_is_warned_of(write: Write, what: str) -> None:
    text, expected = WARNINGS[what]
    [warning] = load(write(text), doubt=doubts).warnings
    assert str(warning).startswith(f"a.chaos.yaml:{expected}")


@pytest.mark.parametrize("what", FINE)
def test_what_may_well_be_is_not(write: Write, what: str) -> None:
    assert load(write(FINE[what]), doubt=doubts).warnings == ()


@pytest.mark.parametrize("tag", PYTESTS_OWN)
def test_a_tag_is_no_mark_of_pytest_s(write: Write, tag: str, request: pytest.FixtureRequest) -> None:
    """And each is one that pytest itself knows."""
    with pytest.raises(ScenarioError) as caught:
        load(write(f"tags: [core, {tag}]\nexpect: {{error: ok}}"))
    assert f"a.chaos.yaml:1:14: `{tag}` is a mark of pytest's own" in str(caught.value)
    ours = [line.partition(":")[0].partition("(")[0] for line in request.config.getini("markers")]
    assert tag in ours


def test_validate_tells_warnings_and_ends_well(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    text, expected = WARNINGS["a round trip longer than compressed time's unit"]
    assert main(["validate", str(write(text))]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"a.chaos.yaml:{expected}")
    assert last == "1 warning: 1 files, 1 cases"
    assert main(["validate", "--json", "a.chaos.yaml"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["severity"], told["line"], told["column"]) == ("warning", 2, 13)


def test_validate_tells_warnings_beside_errors(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write(WARNINGS["another error than explain's"][0])
    Path("b.chaos.yaml").write_text("expect: {eror: ok}")
    assert main(["validate", "a.chaos.yaml", "b.chaos.yaml"]) == 2
    out = capsys.readouterr().out
    assert "a.chaos.yaml:2:17: warning: " in out
    assert "b.chaos.yaml:1:10: unknown key" in out
