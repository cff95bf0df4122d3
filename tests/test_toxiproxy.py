"""Toxiproxy: what is refused before it runs, what its wire must show, and what happens when it is broken itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from chaos import kinds, toxiproxy
from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns
from chaos.errors import LabError, ScenarioError, ToolMissing
from chaos.faults import _proofs
from chaos.faults._stream import Stream, stream
from chaos.faults.toxic import ATTRIBUTES, Toxic
from chaos.model import Lab
from chaos.packets import Packet
from chaos.run import nested, run
from chaos.scenario import Case, load
from tests.source import ROOT

SCENARIOS = ROOT / "scenarios" / "toxiproxy"
RUNS = "labs with a real Toxiproxy"
KILL = (
    'for p in /proc/[0-9]*; do read name < $p/comm; [ "$name" = toxiproxy-serve ] && kill -{} "${{p#/proc/}}"; done; :'
)


def case(name: str) -> Case:
    return load(SCENARIOS / f"{name}.chaos.yaml").cases[0]


@pytest.fixture(scope="module")
def session() -> Iterator[Netns]:
    try:
        toxiproxy.server()
    except ToolMissing as missing:
        pytest.skip(str(missing))
    with Netns() as session:
        yield session


@pytest.fixture
def lab(session: Netns) -> Iterator[AgentLab]:
    with session.start(case("latency").setting) as lab:
        yield lab


# -- what a toxic takes

GOOD = [
    ({"type": "latency", "latency": "1ms"}, {"latency": 1, "jitter": 0}),
    ({"type": "latency", "latency": "200ms", "jitter": "20ms"}, {"latency": 200, "jitter": 20}),
    ({"type": "bandwidth", "rate": 16}, {"rate": 16}),
    ({"type": "slow_close", "delay": "1.5s"}, {"delay": 1500}),
    ({"type": "timeout", "timeout": "0ms"}, {"timeout": 0}),
    ({"type": "reset_peer"}, {"timeout": 0}),
    ({"type": "slicer", "average_size": 9, "delay": "1ms"}, {"average_size": 9, "size_variation": 0, "delay": 1000}),
    ({"type": "limit_data", "bytes": 0}, {"bytes": 0}),
]

BAD = [
    ({"type": "latency"}, "latency needs `latency`"),
    ({"type": "latency", "latency": "0ms"}, "from 1 ms"),
    ({"type": "latency", "latency": "-1ms"}, "expected a duration"),
    ({"type": "latency", "latency": 200}, "expected a duration"),
    ({"type": "latency", "latency": "1ms", "jitter": "2ms"}, "the delay would be negative"),
    ({"type": "latency", "latency": "1ms", "rate": 1}, "latency has no `rate`; it takes: latency, jitter"),
    ({"type": "latency", "latencey": "1ms"}, "did you mean 'latency'"),
    ({"type": "bandwidth"}, "bandwidth needs `rate`"),
    ({"type": "bandwidth", "rate": 0}, "rate"),
    ({"type": "bandwidth", "rate": -5}, "rate"),
    ({"type": "slow_close"}, "slow_close needs `delay`"),
    ({"type": "timeout"}, "timeout needs `timeout`"),
    ({"type": "slicer", "average_size": 0}, "average_size"),
    ({"type": "slicer", "size_variation": 3}, "slicer needs `average_size`"),
    ({"type": "slicer", "average_size": 3, "size_variation": 3}, "must be less than `average_size`"),
    ({"type": "limit_data"}, "limit_data needs `bytes`"),
    ({"type": "limit_data", "bytes": -1}, "bytes"),
    ({"type": "limit_data", "bytes": 1.5}, "bytes"),
    ({"type": "reset_peer", "toxicity": 0}, "toxicity"),
    ({"type": "reset_peer", "toxicity": 1.1}, "toxicity"),
    ({"type": "reset_peer", "stream": "sideways"}, "stream"),
    ({"type": "noop"}, "type"),
    ({}, "`type` is missing"),
]


@pytest.mark.parametrize(("given", "sent"), GOOD)
def test_all_attributes_of_a_type_are_sent(given: dict[str, Any], sent: dict[str, int]) -> None:
    fault: Any = kinds.fault("toxic", given)
    assert fault.attributes == sent


@pytest.mark.parametrize(("given", "says"), BAD)
def test_what_toxiproxy_would_take_for_zero_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        kinds.fault("toxic", given)
    assert says in str(refused.value)


def problems(tmp_path: Path, topology: str, fault: str, expect: str) -> str:
    file = tmp_path / "it.chaos.yaml"
    file.write_text(f"# Why.\ntopology: {topology}\nfaults: [{{{fault}}}]\nexpect: {{{expect}}}\n")
    try:
        load(file)
    except ScenarioError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "fault",
    [
        "drop: {at: server, segment: syn}",
        "drop: {at: router, segment: syn, port: 8080}",
        "drop: {at: router, segment: syn, to: server}",
        "drop: {at: toxiproxy, segment: syn, port: 8080}",
        "icmp: {at: server, type: host-unreachable}",
        "closed-port: {at: server}",
        "route: {at: router, kind: unreachable, to: server}",
        "link-down: {at: server}",
        "toxic: {type: timeout, timeout: 1s}",
    ],
)
@pytest.mark.parametrize("expect", ["error: ETIMEDOUT", "error: ECONNREFUSED", "error: timeout, phase: connect"])
def test_no_connect_error_comes_from_behind_toxiproxy(tmp_path: Path, fault: str, expect: str) -> None:
    said = problems(tmp_path, "toxiproxy", fault, expect)
    assert "3:" in said
    assert "'toxiproxy'" in said
    assert "behind Toxiproxy" in said or "no toxic touches connect()" in said
    assert problems(tmp_path, "toxiproxy", fault, "error: eof, phase: receive") == ""


@pytest.mark.parametrize("at", ["toxiproxy", "client", "router"])
def test_in_front_of_it_one_does(tmp_path: Path, at: str) -> None:
    assert problems(tmp_path, "toxiproxy", f"drop: {{at: {at}, segment: syn}}", "error: ETIMEDOUT") == ""


def test_two_faults_may_share_the_blame(tmp_path: Path) -> None:
    both = "drop: {at: server, segment: syn}}, {proxy-down: {}"
    assert problems(tmp_path, "toxiproxy", both, "error: ECONNREFUSED") == ""


@pytest.mark.parametrize("fault", ["proxy-down: {}", "toxic: {type: reset_peer}", "proxy-down: {at: server}"])
def test_a_toxiproxy_is_needed(tmp_path: Path, fault: str) -> None:
    assert "is no Toxiproxy" in problems(tmp_path, "client-server", fault, "error: eof")


def test_what_is_inside_toxiproxy_is_armed_first_and_withdrawn_last() -> None:
    listed = [
        ("drop", kinds.fault("drop", {"at": "server", "segment": "syn"})),
        ("proxy-down", kinds.fault("proxy-down", {})),
    ]
    assert [kind for kind, _ in nested(listed)] == ["proxy-down", "drop"]


# -- what the wire must show

LISTEN, UPSTREAM, CLIENT, DIALS = ("10.0.0.2", 8666), ("10.0.0.3", 8080), ("10.0.0.1", 40000), ("10.0.0.2", 50000)


@dataclass(frozen=True)
class Ends:
    """A proxy as the proofs know it."""

    listen: tuple[str, int] = LISTEN
    upstream: tuple[str, int] = UPSTREAM


def segment(
    ms: float, source: tuple[str, int], goal: tuple[str, int], length: int, *flags: str, seq: int = 1
) -> Packet:
    ours = source[0] == LISTEN[0]
    made = Packet(int(ms * 1e6), ours, source[0], goal[0], "tcp", source[1], goal[1], seq=seq, length=length)
    return replace(made, flags=frozenset({"ACK", *flags}))


def seen(*out: Packet, into: int = 100) -> Stream:
    """100 bytes from the server at 0 ms, and what left the proxy for its client."""
    ends: Any = Ends()
    return stream([segment(0, UPSTREAM, DIALS, into), *out], ends, "downstream")


def left(ms: float, length: int = 100, *flags: str, seq: int = 1) -> Packet:
    return segment(ms, LISTEN, CLIENT, length, *flags, seq=seq)


@pytest.mark.parametrize(
    ("kind", "found", "wanted", "says"),
    [
        ("latency", seen(left(50)), {"latency": 50, "jitter": 0}, None),
        ("latency", seen(left(45)), {"latency": 50, "jitter": 5}, None),
        ("latency", seen(left(44)), {"latency": 50, "jitter": 5}, "less than 45 ms"),
        ("latency", seen(), {"latency": 50, "jitter": 5}, None),
        ("latency", seen(into=0), {"latency": 50, "jitter": 5}, "no data"),
        ("bandwidth", seen(left(10)), {"rate": 10}, None),
        ("bandwidth", seen(left(8)), {"rate": 10}, "less than"),
        ("slow_close", seen(left(1)), {"delay": 5}, "nobody closed"),
        ("timeout", seen(), {"timeout": 0}, None),
        ("timeout", seen(left(30, 0, "FIN")), {"timeout": 30}, None),
        ("timeout", seen(left(29, 0, "FIN")), {"timeout": 30}, "less than 30 ms"),
        ("timeout", seen(left(30, 0, "FIN")), {"timeout": 0}, "never does"),
        ("timeout", seen(left(30)), {"timeout": 0}, "came out all the same"),
        ("reset_peer", seen(left(30, 0, "RST")), {"timeout": 30}, None),
        ("reset_peer", seen(left(29, 0, "RST")), {"timeout": 30}, "less than"),
        ("reset_peer", seen(left(30, 0, "FIN")), {"timeout": 30}, "no RST"),
        ("slicer", seen(left(1, 50), left(2, 50, seq=51)), {"average_size": 40, "size_variation": 10}, None),
        ("slicer", seen(left(1, 100)), {"average_size": 40, "size_variation": 10}, "in 1 segments"),
        ("slicer", seen(left(1, 100)), {"average_size": 100, "size_variation": 10}, "nothing to slice"),
        ("limit_data", seen(left(1, 10), left(1, 0, "FIN", seq=11)), {"bytes": 10}, None),
        ("limit_data", seen(left(1, 10)), {"bytes": 10}, "no FIN"),
        ("limit_data", seen(left(1, 100)), {"bytes": 10}, "and not 10"),
        ("limit_data", seen(left(1, 100)), {"bytes": 101}, "not reached"),
    ],
)
def test_the_wire_proves_it_or_does_not(kind: str, found: Stream, wanted: dict[str, int], says: str | None) -> None:
    doubt = _proofs.OF[kind](found, wanted)
    assert (doubt is None) if says is None else says in (doubt or "")


def test_a_retransmission_counts_once() -> None:
    assert seen(left(1), left(200)).bytes_out == 100


# -- a real one, healthy and broken


@pytest.mark.slow(RUNS)
def test_it_listens_on_loopback_alone_and_says_its_version(lab: AgentLab) -> None:
    proxy = lab.proxy("toxiproxy")
    assert proxy.version in (toxiproxy.VERSION, "git"), "a plain `go install` knows no version"
    listening = lab.nodes["toxiproxy"].call("command", argv=["ss", "-Hltn"])
    assert sorted(line.split()[3] for line in listening.splitlines()) == ["127.0.0.1:8474", f"{proxy.listen[0]}:8666"]


@pytest.mark.slow(RUNS)
def test_over_ipv6_both_of_its_connections_are_of_ipv6(session: Netns) -> None:
    over_ipv6 = next(one for one in load(SCENARIOS / "upstream-down.chaos.yaml").cases if one.name == "ipv6")
    result = run(over_ipv6, session)
    assert (result.verdict.kind, result.verdict.reasons) == ("PASS", ())
    assert result.evidence is not None
    for node in ("client", "server"):
        assert {":" in packet.src for packet in result.evidence.attempt[node] if packet.protocol == "tcp"} == {True}


def test_every_toxic_has_a_scenario() -> None:
    todo = [one for file in SCENARIOS.glob("*.chaos.yaml") for one in load(file).cases]
    shown = {fault.type for one in todo for _, fault in one.faults if isinstance(fault, Toxic)}
    assert shown == ATTRIBUTES.keys()


THE_OTHER_WAY = """# The request goes through the toxic, and the answer does not.
topology: toxiproxy
faults: [{{toxic: {{{toxic}, stream: upstream{toxicity}}}}}]
client: {{use: socket, size: 64}}
expect: {{error: {error}}}
"""


@pytest.mark.slow(RUNS)
@pytest.mark.parametrize(
    ("toxic", "error"),
    [
        ("type: latency, latency: 200ms", "ok"),
        ("type: bandwidth, rate: 1", "ok"),
        ("type: timeout, timeout: 200ms", "eof"),
        ("type: reset_peer, timeout: 100ms", "ECONNRESET"),
        ("type: slicer, average_size: 8, delay: 10ms", "ok"),
        ("type: limit_data, bytes: 5", "eof"),
    ],
)
def test_a_toxic_acts_on_the_request_as_well_and_is_unproven_where_toxicity_spared_it(
    toxic: str, error: str, tmp_path: Path, session: Netns
) -> None:
    for toxicity, verdict in (("", "PASS"), (", toxicity: 0.000001", "INVALID")):
        file = tmp_path / f"{verdict}.chaos.yaml"
        file.write_text(THE_OTHER_WAY.format(toxic=toxic, error=error, toxicity=toxicity))
        result = run(load(file).cases[0], session)
        assert result.verdict.kind == verdict, result.verdict
        assert ("not proven" in str(result.verdict.reasons)) == (verdict == "INVALID")


def test_every_shipped_scenario_is_of_both_families() -> None:
    families = {file.name: {one.setting.family for one in load(file).cases} for file in SCENARIOS.glob("*.chaos.yaml")}
    assert {name for name, found in families.items() if found != {"ipv4", "ipv6"}} == set()


@pytest.mark.slow(RUNS)
def test_the_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch, session: Netns) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Netns() as another, another.start(case("latency").setting) as lab:
        lab.proxy("toxiproxy").check()


@pytest.mark.slow(RUNS)
@pytest.mark.parametrize("attributes", [{"latencey": 200}, {"latency": 200, "jitter": 0, "more": 1}, {"latency": "1"}])
def test_a_change_that_it_does_not_echo_is_an_error(lab: AgentLab, attributes: dict[str, Any]) -> None:
    toxic = {"name": "it", "type": "latency", "stream": "downstream", "toxicity": 1.0, "attributes": attributes}
    with pytest.raises(LabError, match=r"[Tt]oxi"):
        lab.proxy("toxiproxy").add(toxic)


@pytest.mark.slow(RUNS)
def test_toxics_that_are_left_are_an_error(lab: AgentLab) -> None:
    proxy, attributes = lab.proxy("toxiproxy"), {"latency": 1, "jitter": 0}
    proxy.add({"name": "it", "type": "latency", "stream": "downstream", "toxicity": 1.0, "attributes": attributes})
    with pytest.raises(LabError, match="not as it was made"):
        lab.quiesce()
    proxy.remove("it")
    proxy.remove("it")
    lab.quiesce()


@pytest.mark.slow(RUNS)
def test_a_node_without_one_is_named(lab: AgentLab) -> None:
    with pytest.raises(LabError, match="'server' has no Toxiproxy; there is one at: toxiproxy"):
        lab.proxy("server")


@pytest.mark.slow(RUNS)
def test_a_taken_port_of_its_api_is_named(lab: AgentLab) -> None:
    with pytest.raises(LabError, match=r"port 8474 on 127\.0\.0\.1 is taken"):
        lab.nodes["toxiproxy"].start("program", argv=[toxiproxy.server()], port=8474).next(5.0)


@pytest.mark.slow(RUNS)
def test_a_taken_port_of_a_proxy_is_named(lab: AgentLab) -> None:
    with pytest.raises(LabError, match=r"did not take the proxy 'chaos-8666'.*:8666.*taken"):
        lab.proxy("toxiproxy").beside(8666)


@pytest.mark.slow(RUNS)
def test_a_program_that_ends_at_once_is_quoted(lab: AgentLab) -> None:
    argv = ["sh", "-c", "echo it cannot; exit 3"]
    with pytest.raises(LabError, match="sh ended with status 3; it said last: it cannot"):
        lab.nodes["client"].start("program", argv=argv, port=8474).next(5.0)


@pytest.mark.slow("Toxiproxy has five seconds for an answer")
def test_one_that_hangs_is_an_error_and_no_hang(lab: AgentLab) -> None:
    lab.nodes["toxiproxy"].call("command", argv=["sh", "-c", KILL.format("STOP")])
    started = time.monotonic()
    with pytest.raises(LabError, match="Toxiproxy did not answer `look` within 5 s"):
        lab.quiesce()
    assert time.monotonic() - started < 9


@dataclass(frozen=True)
class Killing:
    """Toxiproxy is killed when the faults are in force."""

    def inject(self, lab: Lab) -> Any:
        return self._kill(lab)

    @contextmanager
    def _kill(self, lab: Lab) -> Iterator[Any]:
        lab.nodes["toxiproxy"].call("command", argv=["sh", "-c", KILL.format("KILL")])
        yield self

    def hits(self) -> int:
        return 1

    def unproven(self, evidence: object) -> None:
        return None


@pytest.mark.slow(RUNS)
@pytest.mark.parametrize("name", ["proxy-down", "latency", "upstream-down", "upstream-black-holed", "timeout"])
def test_killed_in_the_middle_it_is_named_and_never_a_pass(session: Netns, name: str) -> None:
    shipped = case(name)
    started = time.monotonic()
    result = run(replace(shipped, faults=(*shipped.faults, ("killing", Killing()))), session)
    assert result.verdict.kind == "INVALID"
    assert "oxiproxy" in str(result.verdict.reasons)
    assert time.monotonic() - started < 20


@pytest.mark.slow(RUNS)
def test_killed_before_the_attempt_its_end_is_told(session: Netns) -> None:
    with session.start(case("latency").setting) as lab:
        lab.nodes["toxiproxy"].call("command", argv=["sh", "-c", KILL.format("KILL")])
        lab.wait(lab._programs[0].ready, "the end of Toxiproxy", 5.0)
        with pytest.raises(LabError, match="toxiproxy-server was killed by signal 9"):
            lab.quiesce()


def test_the_topology_names_the_official_image_by_version_and_digest() -> None:
    assert f":-{toxiproxy.IMAGE}}}" in (ROOT / "compose" / "toxiproxy" / "compose.yaml").read_text()


def test_without_it_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(toxiproxy, "_CHECKOUT", tmp_path)
    with pytest.raises(ToolMissing, match=r"toxiproxy-server: not found; install it with: .*v2\.12\.0"):
        toxiproxy.server()
    cached = tmp_path / "connect-chaos" / f"toxiproxy-{toxiproxy.VERSION}" / "toxiproxy-server"
    cached.parent.mkdir(parents=True)
    cached.write_text("#!/bin/sh\n")
    cached.chmod(0o755)
    assert toxiproxy.server() == str(cached)
