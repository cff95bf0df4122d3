"""What faults and clients require is probed in the lab's nodes, once a session, and is a skip where it is absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from chaos import requires
from chaos.agent import lacks
from chaos.agent.serve import Agent
from chaos.backends.fake import Fake
from chaos.backends.netns import Netns
from chaos.cli import main
from chaos.errors import ToolMissing
from chaos.faults.closed_port import ClosedPort
from chaos.model import Family, Setting
from chaos.run import run
from chaos.scenario import Case, load
from chaos.topology import find
from tests.source import ROOT

REFUSED = ROOT / "scenarios" / "refused" / "closed-port.chaos.yaml"
NOSUCH = ("program:no-such", "match:nosuch", "target:NOSUCH", "sysctl:net/ipv4/no_such", "python:no_such_module")
NOBODYS = cast("Agent", None)
"""The operation asks nothing of its agent."""


@dataclass(frozen=True)
class Demanding(ClosedPort):
    """Requires over IPv6 what nobody has."""

    requires: ClassVar[tuple[str, ...]] = ("program:ip", "match:nosuch")

    def needs(self, setting: Setting) -> tuple[str, ...]:
        return self.requires if setting.family == "ipv6" else self.requires[:1]


@pytest.fixture(scope="module")
def netns() -> Iterator[Netns]:
    with Netns() as session:
        yield session


def demanding(family: Family) -> Case:
    case = load(REFUSED).cases[0]
    setting = replace(case.setting, family=family)
    return replace(case, faults=(("demanding", Demanding("server")),), setting=setting)


def setting(family: Family = "ipv4") -> Setting:
    return Setting(find("client-server", Path.cwd()), family=family)


def lacking(netns: Netns, *asked: str, family: Family = "ipv4") -> dict[str, str]:
    with netns.start(setting(family)) as lab:
        answer: dict[str, str] = lab.nodes["client"].call("lacks", asked=asked, tool=requires.TOOLS[family])
    return answer


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_what_is_there_is_found_in_a_node(netns: Netns, family: Family) -> None:
    there = ["program:iptables", "program:ip", "match:comment", "target:REJECT", "sysctl:net/ipv4/tcp_syncookies"]
    assert lacking(netns, *there, "python:json", family=family) == {}


def test_what_is_absent_is_told(netns: Netns) -> None:
    assert lacking(netns, *NOSUCH) == dict.fromkeys(NOSUCH, "absent")
    assert lacking(netns, "sysctl:kernel/osrelease") == {"sysctl:kernel/osrelease": "read-only"}


def test_the_root_of_a_user_namespace_is_not_root(netns: Netns) -> None:
    ours = Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"] and os.geteuid() == 0
    assert lacking(netns, "root:") == ({} if ours else {"root:": "absent"})


def test_an_extension_that_the_kernel_lacks_is_not_taken_for_one_that_works(tmp_path: Path) -> None:
    """libxtables only warns of it, and goes on to print its help."""
    tool = tmp_path / "iptables"
    warning = "Warning: Extension ipvs revision 0 not supported, missing kernel module?"
    described = 'echo "iptables v1.8.9\n\n$2 match options:"'
    tool.write_text(f"#!/bin/sh\n[ $2 = ipvs ] && echo '{warning}' >&2\n{described}\n")
    tool.chmod(0o755)
    assert lacks.run(NOBODYS, asked=["match:ipvs", "match:bpf"], tool=str(tool)) == {"match:ipvs": "no-module"}
    gone = lacks.run(NOBODYS, asked=["match:bpf", "program:iptables"], tool=str(tmp_path / "gone"))
    assert gone == {"match:bpf": "absent", "program:iptables": "absent"}


def test_a_case_whose_fault_lacks_something_is_a_missing_tool(netns: Netns) -> None:
    with pytest.raises(ToolMissing, match="ip6tables -m nosuch: iptables has no such match; install it with: apt-get"):
        run(demanding("ipv6"), netns)
    assert run(demanding("ipv4"), netns).verdict.kind == "PASS", "what it does not need here is not asked for"


def test_every_answer_has_a_reason_and_a_mend() -> None:
    told = {
        each: str(requires.missing(f"{each[0]}:{'' if each[0] == 'root' else 'dns'}", each[1], "iptables"))
        for each in requires.WHYS
    }
    assert {kind for kind, _ in told} == set(requires.NAMES) == set(lacks.KINDS)
    assert told["python", "absent"] == "python module dns: not found; install it with: pip install dnspython"
    assert told["match", "no-module"] == "iptables -m dns: this kernel does not have it; sudo modprobe xt_dns"
    assert not [text for text in told.values() if "{" in text or "; " not in text]
    assert str(requires.missing("program:iptables", "absent", "ip6tables")).startswith("ip6tables: not found; install")


def test_each_is_asked_once_a_session() -> None:
    with Fake() as session:

        def check(_: int) -> None:
            with session.start(setting()) as lab:
                requires.check([Demanding("server"), Demanding("client")], lab)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(check, range(8)))
        assert [it.arguments for it in asked(session)] == [{"asked": ["program:ip"], "tool": "iptables"}]
        with session.start(setting("ipv6")) as lab:
            requires.check([Demanding("server")], lab)
        assert [it.arguments["asked"] for it in asked(session)[1:]] == [["program:ip", "match:nosuch"]]


def asked(session: Fake) -> list[Any]:
    return [operation for operation in session.operations if operation.name == "lacks"]


@pytest.mark.slow("two runs of the command, each with a session of its own")
def test_it_is_a_skip_and_with_strict_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(ClosedPort, "needs", lambda *_: ("target:NOSUCH",))
    file = tmp_path / "case.chaos.yaml"
    file.write_text("faults: [{closed-port: {at: server}}]\nexpect: {error: ECONNREFUSED}\n")
    assert main(["run", str(file)]) == 0
    assert "SKIP" in (out := capsys.readouterr().out)
    assert "iptables -j NOSUCH: iptables has no such target; install it with: apt-get install iptables" in out
    assert main(["run", "--strict", str(file)]) == 3
