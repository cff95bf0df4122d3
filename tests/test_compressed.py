"""`timing: compressed`: the kernel's own schedule in another unit, in the lab's namespaces and nowhere else."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from statistics import median

import pytest

from chaos.agent import cookie, kernel
from chaos.agent.netlink import Netlink
from chaos.agent.serve import Agent, Host, Loop
from chaos.backends import bpf, compressed
from chaos.backends.compressed import JIFFY, UNIT, Compression
from chaos.backends.netns import Netns
from chaos.errors import ToolMissing
from chaos.report import as_json
from chaos.run import Result, run
from chaos.scenario import Case, load
from tests.forked import forked
from tests.source import ROOT

DEFAULT = ROOT / "scenarios" / "timeout" / "default-schedule.chaos.yaml"
NOBODY = 65534


def allowed() -> bool:
    """Whether this kernel lets us attach the program."""
    compression = Compression()
    try:
        compression.attach()
    except ToolMissing:
        return False
    compression.close()
    return True


needs_bpf = pytest.mark.skipif(not allowed(), reason="timing: compressed needs root, cgroup v2 and Linux 5.15")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


@pytest.fixture
def compression() -> Iterator[Compression]:
    attached = Compression()
    attached.attach()
    yield attached
    attached.close()


def case(path: str = "timeout/default-schedule") -> Case:
    return load(ROOT / "scenarios" / f"{path}.chaos.yaml").cases[0]


# -- the schedule


def gaps(result: Result) -> list[float]:
    """Seconds between the SYNs, as they left the client."""
    assert result.evidence is not None
    return [(after.time_ns - before.time_ns) / 1e9 for before, after in pairwise(result.evidence.packets["client"])]


@needs_bpf
@pytest.mark.slow("three times the default schedule side by side, a second each")
def test_the_default_schedule_keeps_its_shape() -> None:
    with Netns() as session, ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: run(case(), session), range(3)))
    assert [(result.verdict.kind, result.verdict.reasons) for result in results] == [("PASS", ())] * 3
    schedule = results[0].schedule
    assert schedule is not None
    assert len(schedule.sends) == 11
    assert schedule.unit.rto == pytest.approx(UNIT * JIFFY)
    seen = [median(each) for each in zip(*(gaps(result) for result in results), strict=True)]
    outside = [at for at, (_, low, high) in zip(seen, schedule.intervals(), strict=True) if not low <= at <= high]
    assert outside == [], seen
    assert median(result.evidence.outcome.elapsed or 9.0 for result in results if result.evidence) <= 1.5
    assert {result.timing for result in results} == {f"compressed (x1/{1 / (UNIT * JIFFY):g}, 11 SYNs)"}


@needs_bpf
@pytest.mark.slow("the default schedule, a second")
def test_the_servers_syn_acks_are_timed_in_the_same_unit() -> None:
    dropped = case("timeout/dropped-syn-ack")
    setting = replace(dropped.setting, timing="compressed")
    with Netns() as session:
        result = run(replace(dropped, setting=setting, expect=replace(dropped.expect, wire={})), session)
    assert (result.verdict.kind, result.verdict.reasons) == ("PASS", ())
    assert result.evidence is not None
    of = [packet.flags for packet in result.evidence.packets["server"]]
    syns, syn_acks = of.count(frozenset({"SYN"})), of.count(frozenset({"SYN", "ACK"}))
    assert syns == 11
    assert syn_acks > 5, "the first, and five by the server's timer; SYNs sent again are answered at a limited rate"


@needs_bpf
@pytest.mark.slow("four round trips of 60 ms")
def test_the_healthy_legs_keep_the_second() -> None:
    """A round trip of 60 ms is longer than the compressed timeout: only what runs into a fault may feel it."""
    healthy = case("handshake/three-way")
    setting = replace(healthy.setting, timing="compressed", rtt=0.06)
    with Netns() as session, session.start(setting) as lab:
        assert healthy.client.attempt(lab).error == "ok"
        lab.read_captures()
        plain = [packet for packet in lab.seen("client") if packet.flags == {"SYN"}]
        lab.quiesce()
        with lab.compressed():
            assert healthy.client.attempt(lab).error == "ok"
        lab.read_captures()
        assert len(plain) == 1
        assert len([packet for packet in lab.seen("client") if packet.flags == {"SYN"}]) > 2


@needs_bpf
@pytest.mark.slow("a lab, which is more than a quarter of a second on a busy machine")
def test_the_verdict_is_labelled_with_the_scale_and_the_syns() -> None:
    refused = case("refused/closed-port")
    with Netns() as session:
        result = run(replace(refused, setting=replace(refused.setting, timing="compressed")), session)
    told = as_json(
        file="f", case="c", verdict=result.verdict, evidence=None, faults=(), timing=result.timing, backend="netns",
        artifacts=None,
    )  # fmt: skip
    assert told["timing"] == f"compressed (x1/{1 / (UNIT * JIFFY):g}, 1 SYN)"


# -- nobody else's sockets


def first_timeout() -> float:
    """Seconds to the first retransmission of a SYN in this namespace: one that a full accept queue of ours drops."""
    with socket.socket() as listener, socket.socket() as accepted, socket.socket() as unanswered:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        accepted.connect(listener.getsockname())
        unanswered.setblocking(False)
        with suppress(BlockingIOError):
            unanswered.connect(listener.getsockname())
        info = unanswered.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert info[0] == 2, "SYN_SENT"
        return int(struct.unpack_from("=I", info, 8)[0]) / 1e6  # tcpi_rto


@needs_bpf
def test_only_the_namespaces_asked_for_are_touched(compression: Compression) -> None:
    def timeouts() -> list[float]:
        kernel.unshare(kernel.CLONE_NEWNET)
        with Netlink() as netlink:
            netlink.set_up("lo")
        before = first_timeout()
        with compression.of([cookie.run(Agent("test", Host(os.pipe(), loop := Loop(), loop.end), loop))]):
            during = first_timeout()
        return [before, during, first_timeout()]

    assert first_timeout() == 1.0
    assert forked(timeouts) == [1.0, pytest.approx(UNIT * JIFFY), 1.0]
    assert first_timeout() == 1.0


@needs_bpf
@pytest.mark.slow("a lab, which is more than a quarter of a second on a busy machine")
def test_the_host_keeps_its_timeouts_while_a_lab_is_compressed() -> None:
    setting = case().setting
    with Netns() as session, session.start(setting) as lab, lab.compressed():
        assert first_timeout() == 1.0


# -- nothing left


@needs_bpf
@pytest.mark.slow("a lab, which is more than a quarter of a second on a busy machine")
def test_the_program_goes_with_the_session() -> None:
    with Netns() as session:
        assert session._compression.link is None, "attached before any lab asked for it"
        with session.start(case().setting):
            link = session._compression.link
            assert link is not None
            number = bpf.link_id(link)
            assert number in bpf.link_ids()
    assert number not in bpf.link_ids()


@needs_bpf
def test_a_session_that_ends_before_its_labs_is_no_error(compression: Compression) -> None:
    with compression.of([2**63]):
        compression.close()
    compression.close()


@needs_bpf
@pytest.mark.slow("starts an interpreter")
def test_the_program_goes_with_a_killed_process() -> None:
    program = """
import signal
from chaos.backends import bpf, compressed
compression = compressed.Compression()
compression.attach()
print(bpf.link_id(compression.link), flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        assert number in bpf.link_ids()
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5.0
    while number in bpf.link_ids():
        assert time.monotonic() < deadline


# -- where it may not be used


@needs_root
def test_an_ordinary_user_is_told_what_would_help() -> None:
    def refused() -> str:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with pytest.raises(ToolMissing) as caught:
            run(case(), Netns())
        return str(caught.value)

    assert forked(refused) == (
        "timing: compressed: Operation not permitted; run as root on a host with cgroup v2 and Linux 5.15 or later"
    )


@needs_root
@pytest.mark.slow("runs pytest as another user")
@pytest.mark.parametrize(("strict", "ending"), [([], "1 skipped"), (["--chaos-strict"], "1 error")])
def test_an_ordinary_users_scenario_is_skipped(strict: list[str], ending: str) -> None:
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--chaos-artifacts=never", *strict, str(DEFAULT)]
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "HOME")}
    done = subprocess.run(
        argv, cwd=ROOT, env=environment, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert ending in done.stdout, done.stdout + done.stderr
    assert "timing: compressed: Operation not permitted; run as root" in done.stdout


def test_without_a_cgroup_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def own_cgroup() -> None:
        raise compressed.unavailable("this process is in no cgroup of version 2")

    monkeypatch.setattr(compressed, "own_cgroup", own_cgroup)
    with pytest.raises(ToolMissing, match="in no cgroup of version 2; run as root on a host with cgroup v2"):
        Compression().attach()


def test_a_tick_is_a_frequency_that_the_kernel_can_have() -> None:
    assert round(1 / JIFFY) in (100, 250, 300, 1000)
    assert 0.006 < UNIT * JIFFY <= 0.010
