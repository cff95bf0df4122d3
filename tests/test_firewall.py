"""Rules of iptables, counted and deleted in the kernel: the same as iptables itself says, whichever iptables it is."""

from __future__ import annotations

import signal
from typing import cast

import pytest

from chaos.agent import firewall, nftables, spawned
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent, OperationFailed
from chaos.backends.lab import AgentLab
from tests.forked import forked
from tests.labs import lab, session
from tests.test_nothing_left import enter_namespaces

__all__ = ["lab", "session"]

TOOLS = ["iptables", "ip6tables"]
NOBODY = cast("Agent", None)
"""The operation asks nothing of its agent."""


def rule(chain: str, name: str, *matches: str) -> list[str]:
    return [chain, *matches, "-m", "comment", "--comment", name, "-j", "ACCEPT"]


RULES = [
    rule("INPUT", "chaos-1", "-p", "udp", "--dport", "9"),
    rule("OUTPUT", "chaos-2", "-o", "lo"),
    rule("OUTPUT", "chaos-22"),
]


def saved(tool: str) -> dict[str, int]:
    return firewall._saved(tool, "filter")


@pytest.mark.parametrize("tool", TOOLS)
def test_counters_are_those_that_iptables_save_prints(lab: AgentLab, tool: str) -> None:
    node, address = lab.nodes["client"], "127.0.0.1" if tool == "iptables" else "::1"
    node.call("firewall", tool=tool, do="add", rules=RULES)
    node.call("command", argv=["bash", "-c", f"for i in 1 2 3; do echo > /dev/udp/{address}/9; done"])
    counts = node.call("firewall", tool=tool, do="count", rules=RULES)
    text = node.call("command", argv=[f"{tool}-save", "-c", "-t", "filter"])
    for each, count in zip(RULES, counts, strict=True):
        (line,) = (line for line in text.splitlines() if each[each.index("--comment") + 1] in line.split())
        assert line.startswith(f"[{count}:"), text
    assert counts[0] >= 3


@pytest.mark.parametrize("tool", TOOLS)
def test_exactly_these_are_deleted(lab: AgentLab, tool: str) -> None:
    node = lab.nodes["client"]
    node.call("firewall", tool=tool, do="add", rules=RULES)
    node.call("command", argv=[tool, "-A", "INPUT", "-j", "ACCEPT"])
    node.call("firewall", tool=tool, do="delete", rules=RULES[1:2])
    left = [line for line in node.call("command", argv=[f"{tool}-save"]).splitlines() if line.startswith("-A")]
    assert [line.split()[1] for line in left] == ["INPUT", "INPUT", "OUTPUT"]
    assert not any("chaos-2" in line.split() for line in left)


@pytest.mark.parametrize("in_the_kernel", [True, False], ids=["nf_tables", "the-programs"])
def test_where_the_kernel_has_no_such_rules_the_programs_are_asked(in_the_kernel: bool) -> None:
    def counted() -> list[object]:
        enter_namespaces()
        with Netlink() as netlink:
            netlink.set_up("lo")
        if not in_the_kernel:
            nftables.found = lambda *_: []
        firewall.run(NOBODY, tool="iptables", do="add", rules=RULES)
        spawned.output(["bash", "-c", "echo > /dev/udp/127.0.0.1/9"])
        counts = firewall.run(NOBODY, tool="iptables", do="count", rules=RULES)
        firewall.run(NOBODY, tool="iptables", do="delete", rules=RULES)
        return [counts, saved("iptables")]

    (first, second, third), left = forked(counted)
    assert first == 1
    assert second >= 1
    assert third == 0, "the second rule has accepted all"
    assert left == {}


def test_a_rule_that_iptables_refuses_is_quoted() -> None:
    def refused() -> object:
        enter_namespaces()
        try:
            firewall.run(NOBODY, tool="iptables", do="add", rules=[rule("NOWHERE", "chaos-3")])
        except OperationFailed as failed:
            return failed.error
        return None

    error = forked(refused)
    assert error["kind"] == "failed"
    assert "-A NOWHERE" in error["stderr"]


class TestProgram:
    def test_its_output_is_returned_whole(self) -> None:
        assert spawned.output(["cat"], "x" * (1 << 20)) == "x" * (1 << 20)
        assert spawned.output(["true"]) == ""

    def test_one_that_is_missing_is_named(self) -> None:
        with pytest.raises(OperationFailed) as raised:
            spawned.output(["no-such-program"])
        assert raised.value.error == {"kind": "missing", "tool": "no-such-program"}

    def test_one_that_fails_has_said_why(self) -> None:
        with pytest.raises(OperationFailed) as raised:
            spawned.output(["bash", "-c", "echo why >&2; exit 3"])
        assert raised.value.error == {
            "kind": "failed", "argv": ["bash", "-c", "echo why >&2; exit 3"], "status": 3, "stderr": "why\n"
        }  # fmt: skip

    def test_one_that_does_not_end_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spawned, "TIMEOUT", 0.05)
        with pytest.raises(OperationFailed) as raised:
            spawned.output(["sleep", "1000"])
        assert raised.value.error["status"] == -signal.SIGKILL
        assert "killed" in raised.value.error["stderr"]

    def test_it_does_not_inherit_what_python_ignores(self) -> None:
        ignored = spawned.output(["grep", "SigIgn", "/proc/self/status"]).split()[1]
        assert int(ignored, 16) & 1 << signal.SIGPIPE - 1 == 0

    def test_it_inherits_no_descriptor_of_its_agent_s(self, lab: AgentLab) -> None:
        listed = lab.nodes["client"].call("command", argv=["ls", "/proc/self/fd"]).split()
        assert listed == ["0", "1", "2", "3"], "the last one is that of the folder"
