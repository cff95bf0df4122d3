"""A dying environment: the message names what is missing or dead, never PASS, nothing hangs, nothing is left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from chaos.artifacts import NAMES, Keep, keep, slug
from chaos.backends.netns import Netns
from chaos.check import Verdict
from chaos.clients.command import Command
from chaos.clients.socket import Socket
from chaos.errors import LabError, ToolMissing
from chaos.evidence import Evidence
from chaos.findings import Finding
from chaos.model import Armed, Fault, Lab, Outcome
from chaos.run import Result, run
from chaos.scenario import Case, load
from tests.deaths import kill_lab
from tests.leftovers import MARK, gone_after, marked

SCENARIOS = Path(__file__).resolve().parent.parent / "scenarios"
DIED = re.compile(r"the agent in node '\w+' died")
SOON = 2.0
"""Seconds within which a death must be noticed; the time-outs of a run are 10 s and more."""


def case(name: str, which: str = "") -> Case:
    """The first case of a scenario, or the first whose name begins so."""
    return next(case for case in load(SCENARIOS / f"{name}.chaos.yaml").cases if case.name.startswith(which))


class Session:
    """A marked session of its own, so that what it leaves can be told from what others have."""

    def __init__(self, mark: str, netns: Netns) -> None:
        self._mark, self.netns = mark, netns

    def run(self, case: Case) -> Result:
        """Run it, soon; whatever becomes of it, its lab ends while the session goes on."""
        started = time.monotonic()
        try:
            return run(case, self.netns)
        finally:
            assert time.monotonic() - started < SOON + 3 * ("timeout/" in str(case.file)), "it was noticed too late"
            seconds, left = only_the_session_is_left(self._mark)
            assert seconds < SOON, left


def only_the_session_is_left(mark: str) -> tuple[float, list[str]]:
    """Seconds until no lab is left: the keeper, the zygote and a process at rest, in the session's own network."""
    started = time.monotonic()
    while (left := labs_left(mark)) and time.monotonic() - started < SOON:
        pass
    return time.monotonic() - started, left


def labs_left(mark: str) -> list[str]:
    """The network namespaces beside the session's own, and the processes beyond those of a session that rests."""
    found = marked(mark)
    networks = sorted(name for name in found.namespaces if name.startswith("net:"))
    return [*networks[1:], *(str(pid) for pid in sorted(found.processes)[3:])]


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Session]:
    mark = f"{os.getpid()}-{request.node.name}"
    monkeypatch.setenv(MARK, mark)
    with Netns() as netns:
        yield Session(mark, netns)
    assert gone_after(mark, marked(mark), 0.0)[1] == []


@dataclass(frozen=True)
class Dying:
    """A fault that does something deadly to the lab when it is armed."""

    deed: Callable[[Lab], None]
    at: str = "client"

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Armed]:
        self.deed(lab)
        yield Harmless()


class Harmless:
    def hits(self) -> int:
        return 1

    def unproven(self, evidence: Evidence) -> str | None:
        return None


def with_deed(case: Case, deed: Callable[[Lab], None]) -> Case:
    fault: Fault = Dying(deed)
    return replace(case, faults=(*case.faults, ("dying", fault)))


class TestLab:
    """One process is the agent of all nodes."""

    @pytest.mark.slow("it is killed in the middle of a time-out")
    def test_killed_during_the_attempt(self, session: Session) -> None:
        result = session.run(with_deed(case("timeout/dropped-syn"), lambda lab: kill_lab(lab, "client", 0.2)))
        assert result.verdict.kind == "INVALID"
        assert DIED.search(result.verdict.reasons[0])

    def test_killed_while_a_fault_is_armed(self, session: Session) -> None:
        result = session.run(with_deed(case("refused/closed-port", "socket"), lambda lab: kill_lab(lab, "server")))
        assert result.verdict.kind == "INVALID"
        assert DIED.search(result.verdict.reasons[0])

    def test_other_labs_of_the_session_live_on(self, session: Session) -> None:
        session.run(with_deed(case("refused/closed-port", "socket"), lambda lab: kill_lab(lab, "client")))
        assert session.run(case("refused/closed-port", "socket")).verdict.kind == "PASS"


class TestZygote:
    def test_killed_between_two_labs(self, session: Session) -> None:
        process = session.netns._process  # by the pid of what we started, and only that
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        result = session.run(case("refused/closed-port", "socket"))
        assert result.verdict.kind == "INVALID"
        assert "session" in result.verdict.reasons[0]


class TestMissing:
    @pytest.fixture
    def poor(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A PATH with `ip` and a shell, and without iptables and curl."""
        for tool in ("ip", "sh", "bash"):
            found = shutil.which(tool)
            assert found is not None
            (tmp_path / tool).symlink_to(found)
        monkeypatch.setenv("PATH", str(tmp_path))

    @pytest.mark.parametrize("name", ["timeout/dropped-syn", "refused/firewall-reset", "timeout/wrong-address"])
    def test_iptables(self, poor: None, session: Session, name: str) -> None:
        todo = next(iter(load(SCENARIOS / f"{name}.chaos.yaml").cases))
        with pytest.raises(ToolMissing) as caught:
            session.run(todo)
        assert "iptables" in str(caught.value)
        assert "apt-get install iptables" in str(caught.value)

    def test_curl(self, poor: None, session: Session) -> None:
        with pytest.raises(ToolMissing) as caught:
            session.run(case("refused/closed-port", "curl"))
        assert "curl" in str(caught.value)
        assert "apt-get install curl" in str(caught.value)

    def test_what_needs_neither_runs_on(self, poor: None, session: Session) -> None:
        assert session.run(case("refused/closed-port", "socket")).verdict.kind == "PASS"

    def test_a_client_that_does_not_exist(self, session: Session) -> None:
        todo = replace(
            case("refused/closed-port", "socket"), client=Command(("no-such-client", "{target}")), probe="socket"
        )
        with pytest.raises(ToolMissing, match="no-such-client"):
            session.run(todo)

    def test_a_program_that_may_not_be_executed(self, session: Session, tmp_path: Path) -> None:
        program = tmp_path / "client"
        program.write_text("#!/bin/sh\n")
        todo = replace(case("refused/closed-port", "socket"), client=Command((str(program),)), probe="socket")
        result = session.run(todo)
        assert result.verdict.kind == "INVALID"
        assert "EACCES" in result.verdict.reasons[0]
        assert str(program) in result.verdict.reasons[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("policy", ["always", "retain-on-failure"])
def test_a_full_disk_for_artefacts(tmp_path: Path, name: str, policy: Keep) -> None:
    """Each file in turn is one that cannot be written (/dev/full, full(4)): ENOSPC, and it is named."""
    todo = case("refused/closed-port", "socket")
    folder = tmp_path / slug(todo.node_id)
    folder.mkdir()
    (folder / name).symlink_to("/dev/full")
    outcome = Outcome(error="ok", phase=None, started_ns=0, returned_ns=0, stdout="said", stderr="warned")
    passed = Result(todo, Verdict("PASS"), 0.0, Evidence(outcome, "client", {"client": ()}))
    failed = replace(passed, verdict=Verdict("FAIL", (Finding("FAIL", "error: expected ok, got EOF"),)))
    result, kept = keep(passed if policy == "always" else failed, "netns", tmp_path, policy)
    assert result.verdict.kind == "INVALID"
    assert kept is None
    assert any(name in reason and "No space left on device" in reason for reason in result.verdict.reasons)


class Broken:
    """A client that breaks with an error of its own."""

    node = "client"

    def attempt(self, lab: Lab) -> Outcome:
        raise LabError("the disk of the node is full")


def test_a_broken_baseline_is_told_and_nothing_is_armed(session: Session) -> None:
    armed: list[str] = []
    todo = replace(case("refused/closed-port", "socket"), client=Broken(), probe="client")
    result = session.run(with_deed(todo, lambda lab: armed.append("armed")))
    assert result.verdict.kind == "INVALID"
    assert "the disk of the node is full" in result.verdict.reasons[0]
    assert armed == []


@pytest.mark.slow("the recovery is tried for its 5 s")
def test_a_fault_that_cannot_be_withdrawn_is_never_green(session: Session) -> None:
    """The network does not work again: the recovery says so."""

    def deed(lab: Lab) -> None:
        lab.nodes["client"].call("command", argv=["ip", "link", "set", "eth0", "down"])

    todo = with_deed(case("unreachable/no-route", "ipv4"), deed)
    started = time.monotonic()
    result = run(replace(todo, faults=todo.faults[1:], client=Socket()), session.netns)
    assert result.verdict.kind == "INVALID"
    assert any(reason.startswith("recovery:") for reason in result.verdict.reasons)
    assert time.monotonic() - started < 10
