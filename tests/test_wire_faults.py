"""Faults of the wire in a scenario: what `validate` says of them, and what holds for those that are in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import kinds
from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns
from chaos.clients.socket import Socket
from chaos.conversation import segment
from chaos.errors import LabError, ScenarioError
from chaos.model import Setting
from chaos.scenario import load
from tests.labs import TOPOLOGY, lab, session

__all__ = ["lab", "session"]


@pytest.mark.parametrize(
    ("fault", "more", "complaint"),
    [
        ("drop: {at: server, segment: syn, nth: 1}", "", ":1:49: only the wire can tell: `at: router`"),
        ("drop: {at: client, segment: data, larger: 9}", "", ":1:53: only the wire can tell: `at: router`"),
        ("drop: {at: router, segment: any, nth: 1}", "type: datagram", "only the wire can tell: and of TCP alone"),
        (
            "drop: {at: router, segment: syn, nth: 0}",
            "",
            "segments are counted from 1: expected 1, '1..2' or '3..', got 0",
        ),
        ("drop: {at: router, segment: syn, nth: 2..1}", "", "the range '2..1' ends before it begins"),
        ("delay: {segment: syn}", "", "`by` is missing"),
        ("delay: {segment: syn, by: 1s, at: router}", "", "unknown key `at`"),
        ("delay: {segment: syn, by: 1s, from: sever}", "", "no node `sever` in the topology (did you mean 'server'?)"),
        ("truncate: {segment: data, keep: 19}", "", "should be greater than or equal to 20"),
        ("bandwidth: {rate: 0}", "", "should be greater than or equal to 1"),
        ("reorder: {segment: data}", "path: direct", "reorder needs the wire; `path: direct` leaves it out"),
        ("icmp: {at: router, type: 256}", "", "expected a type from 0 to 255 or a name, got 256"),
        ("icmp: {at: router, type: host-unreachabel}", "", "(did you mean 'host-unreachable'?)"),
        ("icmp: {at: router, type: 8}", "", "type 8 is no error over ipv4, and quotes nothing"),
        ("icmp: {at: router, type: 128}", "family: ipv6", "type 128 is no error over ipv6"),
        (
            "icmp: {at: router, type: beyond-scope}",
            "",
            "over ipv4 there is no beyond-scope; there are network-unreachable",
        ),
        ("icmp: {at: router, type: 3, mtu: 1300}", "", "only fragmentation-needed (3/4) and packet-too-big"),
        ("icmp: {at: server, type: 3, nth: 2}", "", "only the wire can tell which segments: `at: router`"),
        ("icmp: {at: client, type: 3, code: 7}", "", "'client' sends this segment itself, and its firewall can answer"),
    ],
)
def test_what_cannot_work_is_said_at_its_place(fault: str, more: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "a.chaos.yaml"
    file.write_text(f"faults: [{{{fault}}}]\nexpect: {{error: ok}}\n{more}\n")
    with pytest.raises(ScenarioError) as caught:
        load(file)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("where", ["port: 8080", "to: server"])
def test_behind_toxiproxy_the_wire_is_too_late_for_connect(where: str, tmp_path: Path) -> None:
    file = tmp_path / "a.chaos.yaml"
    file.write_text(
        f"topology: toxiproxy\nfaults: [{{delay: {{segment: syn, by: 9s, {where}}}}}]\nexpect: {{error: ETIMEDOUT}}\n"
    )
    with pytest.raises(ScenarioError, match=r"this delay is behind Toxiproxy.* leave out 'server' and its port"):
        load(file)


def test_what_the_matrix_multiplies_a_case_cannot_say(tmp_path: Path) -> None:
    file = tmp_path / "a.chaos.yaml"
    file.write_text("matrix: {family: [ipv4, ipv6]}\nexpect: {error: ok}\ncases: {a: {family: ipv6}, b: }\n")
    with pytest.raises(ScenarioError) as caught:
        load(file)
    assert "a.chaos.yaml:3:13: the matrix multiplies `family`: a case cannot say it too" in str(caught.value)


def test_rules_come_and_go_while_the_wire_runs(lab: AgentLab) -> None:
    delay = kinds.fault("delay", {"segment": "syn", "by": "1ms"})
    with delay.inject(lab) as first:
        assert Socket().attempt(lab).error == "ok"
        with delay.inject(lab) as second:
            assert Socket().attempt(lab).error == "ok"
            assert (first.hits(), second.hits()) == (2, 1)
        assert Socket().attempt(lab).error == "ok"
        assert first.hits() == 3
    lab.quiesce()


def test_what_a_withdrawn_rule_holds_is_gone(lab: AgentLab) -> None:
    """The SYN-ACK is held; withdrawn, it never comes, and nothing waits for it."""
    with kinds.fault("delay", {"segment": "syn-ack", "by": "50s"}).inject(lab) as armed:
        assert Socket(mode="timeout", timeout=0.1).attempt(lab).error == "timeout"
        assert armed.hits() >= 1
        lab.drain()
    lab.quiesce()
    assert not [packet for packet in lab.packets("client") if segment(packet) == "syn-ack"]
    assert Socket().attempt(lab).error == "ok"


def test_without_a_router_there_is_no_wire(session: Netns) -> None:
    with session.start(Setting(TOPOLOGY, path="direct")) as lab:
        fault = kinds.fault("duplicate", {"segment": "syn"})
        with pytest.raises(LabError, match="there is no wire"), fault.inject(lab):
            pass
