"""Rules of iptables, counted and deleted in the kernel: the same as iptables itself says, whichever iptables it is."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from chaos.agent import firewall, nftables, spawned
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent, OperationFailed
from chaos.backends.lab import AgentLab
from chaos.clients.socket import Socket
from chaos.faults._rules import FORTH, armed, matches
from tests.forked import forked
from tests.labs import lab, session
from tests.test_nothing_left import enter_namespaces

__all__ = ["lab", "session"]

TOOLS = ["iptables", "ip6tables"]


def nobody() -> Agent:
    """The operation asks nothing of its agent but to keep something."""
    return cast("Agent", SimpleNamespace(state={}))


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


def no_nf_tables(_protocol: int) -> Netlink:
    raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))


@pytest.mark.parametrize("there", ["nf_tables", "no-such-rules", "no-nf_tables"])
def test_where_the_kernel_has_no_such_rules_the_programs_are_asked(monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    def counted() -> list[object]:
        enter_namespaces()
        agent = nobody()
        with Netlink() as netlink:
            netlink.set_up("lo")
        if there == "no-such-rules":
            monkeypatch.setattr(nftables.Tables, "found", lambda *_: [])
        elif there == "no-nf_tables":
            monkeypatch.setattr(nftables, "Netlink", no_nf_tables)
        firewall.run(agent, tool="iptables", do="add", rules=RULES)
        spawned.output(["bash", "-c", "echo > /dev/udp/127.0.0.1/9"])
        counts = firewall.run(agent, tool="iptables", do="count", rules=RULES)
        firewall.run(agent, tool="iptables", do="delete", rules=RULES)
        return [counts, saved("iptables")]

    (first, second, third), left = forked(counted)
    assert first == 1
    assert second >= 1
    assert third == 0, "the second rule has accepted all"
    assert left == {}


def test_one_socket_serves_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel waits for RCU when it closes one that has deleted something, and whoever asked for it with it."""

    def opened() -> object:
        enter_namespaces()
        agent, sockets = nobody(), list[Netlink]()

        def opening(protocol: int) -> Netlink:
            sockets.append(Netlink(protocol))
            return sockets[-1]

        monkeypatch.setattr(nftables, "Netlink", opening)
        for do in ("add", "count", "delete", "count"):
            firewall.run(agent, tool="iptables", do=do, rules=RULES)
        before = len(sockets)
        agent.state["nf_tables"].close()
        return [before, sockets[0]._socket.fileno()]

    assert forked(opened) == [1, -1]


def test_a_rule_that_iptables_refuses_is_quoted() -> None:
    def refused() -> object:
        enter_namespaces()
        agent = nobody()
        try:
            firewall.run(agent, tool="iptables", do="add", rules=[rule("NOWHERE", "chaos-3")])
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


def of_faults(tool: str) -> dict[str, list[list[str]]]:
    """One rule of every kind that faults write, by table."""
    family, far = ("ipv4", "198.18.9.9") if tool == "iptables" else ("ipv6", "2001:db8::9")
    syn, data = (["INPUT", *matches(segment, FORTH, 8080, family)] for segment in ("syn", "data"))
    reset = ["-j", "REJECT", "--reject-with", "tcp-reset"]
    filtered = [
        [*syn, "-j", "DROP"],
        [*syn, *reset],
        [*data, "-j", "DROP"],
        [*syn, "-m", "connlimit", "--connlimit-above", "3", "--connlimit-mask", "0", *reset],
        [*syn, "-m", "hashlimit", "--hashlimit-above", "3/sec", "--hashlimit-name", "x", "-j", "DROP"],
        ["INPUT", "-p", "253", "-j", "DROP"],
        ["OUTPUT", "-p", "udp", "--sport", "9", "-d", far, "-j", "REJECT"],
        ["FORWARD", "-i", "wire0", "-s", far, "-j", "DROP"],
    ]
    if family == "ipv6":
        filtered.append(["INPUT", "-p", "icmpv6", "--icmpv6-type", "neighbour-solicitation", "-j", "DROP"])
    nat = [["PREROUTING", "-p", "tcp", "--dport", "80", "-j", "REDIRECT", "--to-ports", "81"]]
    return {"filter": filtered, "nat": nat, "raw": [["PREROUTING", "-d", far, "-j", "DROP"]]}


@pytest.mark.parametrize("tool", TOOLS)
def test_what_is_made_like_a_rule_is_what_iptables_makes_of_it(tool: str) -> None:
    def told(commented: str, table: str, like: object = None) -> list[object]:
        rules = [
            [*rule, "-m", "comment", "--comment", f"{commented}-{number}"]
            for number, rule in enumerate(of_faults(tool)[table])
        ]
        learnt = firewall.run(nobody(), tool=tool, do="add", rules=rules, table=table, like=cast("None", like))
        text = spawned.output([f"{tool}-save", "-t", table])
        lines = [line.replace(commented, "NAME") for line in text.splitlines() if line.startswith("-A")]
        return [lines, learnt, firewall.run(nobody(), tool=tool, do="count", rules=rules, table=table)]

    def by_iptables() -> list[object]:
        enter_namespaces()
        return [told("chaos-7", table) for table in of_faults(tool)]

    def like_them(known: list[object]) -> list[object]:
        enter_namespaces()
        spawned.Spawned.__init__ = unless_restoring(spawned.Spawned.__init__)  # type: ignore[method-assign]
        return [told("another-88", table, like) for table, like in zip(of_faults(tool), known, strict=True)]

    first = forked(by_iptables)
    second = forked(lambda: like_them([learnt for _, learnt, _ in first]))
    assert [lines for lines, *_ in second] == [lines for lines, *_ in first]
    assert [len(lines) for lines, *_ in first] == [len(rules) for rules in of_faults(tool).values()]
    assert [learnt for _, learnt, _ in second] == [[], [], []], "nothing is left to be learnt"
    assert {count for _, _, counts in second for count in counts} == {0}


def unless_restoring(started: Callable[..., None]) -> Callable[..., None]:
    def start(self: object, argv: list[str], stdin: str = "") -> None:
        assert not argv[0].endswith("-restore"), argv
        started(self, argv, stdin)

    return start


def test_a_rule_made_like_another_one_counts_and_acts(lab: AgentLab) -> None:
    for _ in range(2):
        with armed(
            lab.nodes["server"], "ipv4", [["INPUT", *matches("syn", FORTH, 8080, "ipv4"), "-j", "DROP"]]
        ) as rules:
            outcome = Socket(mode="timeout", timeout=0.05, steps=("connect",)).attempt(lab)
            assert (outcome.error, rules.hits()) == ("timeout", 1)
    assert len(lab.nodes["server"].learnt) >= 1


def test_what_cannot_be_made_like_another_one_is_left_to_iptables() -> None:
    def added() -> list[object]:
        enter_namespaces()
        agent = nobody()
        rules = RULES[:1]
        (known,) = cast("list[nftables.Template]", firewall.run(agent, tool="iptables", do="add", rules=rules))
        broken = cast("nftables.Template", {**known, "expressions": known["expressions"][:40]})
        firewall.run(agent, tool="iptables", do="add", rules=[rule("INPUT", "chaos-9", "-p", "udp")], like=[broken])
        return [*saved("iptables")]

    assert forked(added) == ["chaos-1", "chaos-9"]
