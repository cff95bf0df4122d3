"""What programs and people are told of a case."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chaos.check import FaultReport, check, invalid
from chaos.check import Leg as AnyLeg
from chaos.evidence import Evidence, StateLog
from chaos.model import Outcome, Surfaced
from chaos.report import as_json, explain_failure
from chaos.scenario.language import Expect
from tests.talk import T0, talk

FILE = "scenarios/timeout/dropped-syn.chaos.yaml"
LINES = {"expect": 5, "expect.error": 6, "expect.wire": 8, "expect.wire.client": 8, "expect.wire.client.0": 9}
REFUSED = "ConnectionRefusedError: [Errno 111] Connection refused"
DROP = FaultReport("drop", "server", 1)


def evidence(*lines: str) -> Evidence:
    chain = (Surfaced("builtins.ConnectionRefusedError", "[Errno 111] Connection refused", "ECONNREFUSED"),)
    outcome = Outcome("ECONNREFUSED", "connect", T0, T0 + 2_300_000, chain=chain, elapsed=0.0023)
    packets = {"client": talk(*lines), "server": talk(*lines, at="server")}
    states = {"client": StateLog(((1, "SYN_SENT"), (2, "SYN_SENT"), (3, "ESTABLISHED")), 0.002)}
    return Evidence(outcome, "client", packets, states=states, kernel={"client": {"TcpExtA": 0, "TcpExtB": 2}})


def judged(found: Evidence, **expect: Any) -> Any:
    return check(Expect(**expect), found, [DROP], AnyLeg(True), AnyLeg(True))


def test_the_object_of_a_case() -> None:
    found = evidence("> syn", "< rst")
    verdict = judged(found, error="ETIMEDOUT")
    told = as_json(
        file=FILE,
        case="default",
        verdict=verdict,
        evidence=found,
        faults=[DROP],
        timing="short",
        backend="netns",
        artifacts=None,
    )
    assert json.loads(json.dumps(told)) == {
        "id": f"{FILE}::default",
        "file": FILE,
        "case": "default",
        "verdict": "FAIL",
        "reasons": ["error: expected ETIMEDOUT, got ECONNREFUSED"],
        "outcome": {
            "error": "ECONNREFUSED",
            "phase": "connect",
            "elapsed_s": 0.0023,
            "type": "builtins.ConnectionRefusedError",
            "message": "[Errno 111] Connection refused",
        },
        "faults": [{"kind": "drop", "hits": 1}],
        "lookups": [],
        "wire": ["> syn", "< rst"],
        "states": {"client": ["SYN_SENT", "ESTABLISHED"]},
        "kernel": {"client": {"TcpExtB": 2}},
        "timing": "short",
        "backend": "netns",
        "artifacts": None,
    }


def test_the_object_of_a_run_without_an_attempt_has_the_same_keys() -> None:
    given: dict[str, Any] = {"file": FILE, "case": "default", "timing": "short", "backend": "netns", "artifacts": "a"}
    with_, without = (
        as_json(verdict=invalid("the agent died"), evidence=found, faults=[], **given) for found in (evidence(), None)
    )
    assert list(with_) == list(without)
    assert list(without["outcome"].values()) == [None] * 5
    assert without["wire"] == []


def told(found: Evidence | None, verdict: Any, **more: Any) -> list[str]:
    given: dict[str, Any] = {"file": FILE, "line": 1, "lines": LINES, "faults": [DROP], **more}
    return explain_failure(verdict, evidence=found, **given).splitlines()


def test_a_failure_shows_where_why_and_the_packets() -> None:
    found = evidence("> syn", "< rst")
    verdict = judged(found, error="ETIMEDOUT", phase="receive", wire={"client": ("> syn x2",)})
    assert told(found, verdict, artifacts="out/1") == [
        f"FAIL {FILE}:1",
        f"  {FILE}:6: error: expected ETIMEDOUT, got ECONNREFUSED",
        f"  {FILE}:1: phase: expected receive, got connect",
        f'  {FILE}:8: wire at client: expected "> syn x2" (1 so far), got "< rst" as packet 2',
        f"client surfaced: ECONNREFUSED in connect after 2.3 ms ({REFUSED})",
        "faults: drop at server: 1 hit",
        "packets at client:",
        "      0.000 ms  > syn      [SYN] seq=0 len=0",
        "      1.000 ms  < rst      [RST,ACK] seq=0 ack=1 len=0",
        "packets at server:",
        "      0.000 ms  > syn      [SYN] seq=0 len=0",
        "      1.000 ms  < rst      [RST,ACK] seq=0 ack=1 len=0",
        "artefacts: out/1",
    ]


@pytest.mark.parametrize("packets", [0, 3, 17, 18, 400])
@pytest.mark.parametrize("mismatches", [1, 8, 60])
def test_a_failure_takes_under_30_lines(packets: int, mismatches: int) -> None:
    found = evidence("> syn", "< syn-ack", "> ack", *["> data"] * packets)
    verdict = judged(found, kernel={f"node{number}": {"A": ()} for number in range(mismatches)})
    assert len(verdict.reasons) == mismatches
    shown = told(found, verdict, artifacts="out/1")
    assert len(shown) < 30
    assert shown[-1] == "artefacts: out/1"
    assert any("> syn " in line for line in shown)


def test_a_run_without_an_attempt_shows_why() -> None:
    assert told(None, invalid("baseline: the agent\nin node client died"), faults=[]) == [
        f"INVALID {FILE}:1",
        f"  {FILE}:1: baseline: the agent in node client died",
    ]
