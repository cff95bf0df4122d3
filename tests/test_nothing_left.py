"""Nothing is left: not after SIGKILL at any moment, not on the host while labs run; and the detector does detect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import percentile
from chaos.agent import kernel
from chaos.agent.netlink import Netlink
from chaos.backends.netns import Netns
from chaos.run import run
from chaos.scenario import load
from tests import leftovers
from tests.forked import forked
from tests.leftovers import MARK, differences, gone_after, host, left, marked
from tests.mortal import SCENARIOS, cases, deaths

TIMES, WITHIN = 100, 0.1
LABS = 2
"""At once: other tests have the rest of the processors."""
PROGRAM = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
flags = 0x40000000 | (0 if os.geteuid() == 0 else 0x10000000)
assert libc.unshare(flags) == 0, os.strerror(ctypes.get_errno())
print("planted", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow("a hundred sessions are started and killed, each after up to half a second")
def test_sigkill_at_random_moments_leaves_nothing() -> None:
    found = deaths(TIMES, LABS)
    assert len(found) == TIMES
    assert not [death for death in found if death.left], "something outlived its session by 5 s"
    with_labs = [death for death in found if len(death.before.processes) > len(("keeper", "zygote"))]
    assert len(with_labs) > TIMES / 3, "most died before they had a lab"
    late = percentile([death.seconds / death.busy for death in found], 0.99)
    assert late < WITHIN, f"p99 is {late * 1000:.0f} ms on a machine at rest"


@contextmanager
def planted(mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that outlives its session, in a network namespace of its own."""
    argv = [sys.executable, "-I", "-S", "-c", PROGRAM]
    env = os.environ | {MARK: mark}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, start_new_session=True) as leak:
        assert leak.stdout is not None
        assert leak.stdout.readline() == b"planted\n"
        try:
            yield leak
        finally:
            leak.kill()


class TestTheDetector:
    def test_finds_a_process_and_its_namespace(self) -> None:
        with planted("a-leak") as leak:
            found = marked("a-leak")
            assert list(found.processes) == [leak.pid]
            assert any(name.startswith("net:") for name in found.namespaces)
            assert any(f"process {leak.pid}" in line for line in left("a-leak", found))
            assert gone_after("a-leak", found, 0.0)[1]
        assert gone_after("a-leak", found, 2.0)[1] == []

    def test_finds_a_namespace_that_only_a_descriptor_holds(self) -> None:
        with planted("held") as leak:
            descriptor = os.open(f"/proc/{leak.pid}/ns/net", os.O_RDONLY)
            found = marked("held")
        try:
            name = next(name for name in found.namespaces if name.startswith("net:"))
            assert left("held", found) == [f"namespace {name} held by process {os.getpid()}"]
        finally:
            os.close(descriptor)
        assert left("held", found) == []

    def test_does_not_take_others_for_ours(self) -> None:
        with planted("one"):
            assert marked("another").processes == {}

    def test_a_number_that_another_namespace_may_have_by_now_has_no_holders(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with planted("brief") as leak:

            def holders(names: Collection[str]) -> list[tuple[int, bytes, str]]:
                leak.kill()
                leak.wait()
                return [(os.getpid(), b"1", name) for name in names]

            monkeypatch.setattr(leftovers, "_holders", holders)
            found = marked("brief")
        assert found.namespaces
        assert found.holders == frozenset()

    def test_finds_an_interface_a_route_a_rule_a_sysctl_and_a_mount(self) -> None:
        assert forked(leaks_of_every_kind) == ["addresses", "links", "mounts", "routes", "rules", "sysctls"]


def leaks_of_every_kind() -> list[str]:
    """Which parts of `host()` notice what is planted, in namespaces of our own."""
    enter_namespaces()
    before = host()
    with Netlink() as netlink:
        netlink.veth("planted0", "planted1")
        netlink.set_up("planted1")
        netlink.address("planted0", "198.18.200.1", 32)
        netlink.route("198.18.200.2", "planted0")
        netlink.rule("planted0", 77, six=False)
    kernel.write_sysctl("net/ipv4/ip_forward", "1")
    kernel.mount("planted", "/run", "tmpfs", 0)
    names = {line.partition(":")[0] for line in differences(before, host())}
    return sorted(name for name in names if "IPv6" not in name)


def enter_namespaces() -> None:
    """A network and a mount namespace of our own, in a user namespace where we are not root."""
    uid, gid = os.geteuid(), os.getegid()
    if uid:
        kernel.unshare(kernel.CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text, encoding="ascii")
    kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)


@pytest.mark.slow("thousands of sysctls, read around scenarios and while they run")
def test_the_host_is_byte_identical_before_during_and_after() -> None:
    todo = [case for case in cases() if case.adapter == "socket"] * 2
    before = host()
    during: list[dict[str, str]] = []
    with Netns() as backend, ThreadPoolExecutor(len(todo)) as pool:
        running = [pool.submit(run, case, backend) for case in todo]
        while not all(future.done() for future in running):
            during.append(host())
            time.sleep(0.1)
        verdicts = [future.result().verdict for future in running]
    assert [verdict.kind for verdict in verdicts] == ["PASS"] * len(todo), verdicts
    assert during
    for state in (*during, host()):
        assert differences(before, state) == []


def test_an_ended_session_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, "an-end")
    case = load(SCENARIOS / "refused/closed-port.chaos.yaml").cases[0]
    with Netns() as backend:
        assert run(case, backend).verdict.kind == "PASS"
        found = marked("an-end")
        assert found.processes
    assert left("an-end", found) == []


@pytest.mark.slow("the alarm rings in the middle of a time-out")
def test_an_interrupt_in_the_middle_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, "an-interrupt")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    case = load(SCENARIOS / "timeout/dropped-syn.chaos.yaml").cases[0]

    def run_until_the_alarm() -> None:
        with Netns() as backend:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            run(case, backend)

    before = signal.signal(signal.SIGALRM, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_until_the_alarm()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert gone_after("an-interrupt", marked("an-interrupt"), 1.0)[1] == []


def test_an_interrupt_while_a_session_starts_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, "an-early-interrupt")
    seen: list[int] = []

    def interrupted(_: object) -> bytes:
        """execve(2) closes descriptors, by which Popen knows of it, a moment before it sets the environment."""
        end = time.monotonic() + 5.0
        while not seen and time.monotonic() < end:
            seen.extend(marked("an-early-interrupt").processes)
        raise KeyboardInterrupt

    monkeypatch.setattr("chaos.backends.netns._first_word", interrupted)
    with pytest.raises(KeyboardInterrupt), Netns():
        pass
    assert seen, "it had not begun"
    assert gone_after("an-early-interrupt", marked("an-early-interrupt"), 1.0)[1] == []
