"""The process of a lab serves one after another: always in new namespaces, and never with anything of the last one."""

from __future__ import annotations

import base64
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.agent import kernel
from chaos.agent.lab import Base
from chaos.backends import netns
from chaos.backends.channel import asked, everywhere
from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns
from chaos.backends.processes import AWHILE, SPARE
from chaos.errors import LabError
from chaos.model import LONG, ROUTER, SLOW, Family, Setting
from tests.deaths import lab_process
from tests.forked import forked
from tests.labs import TOPOLOGY, session
from tests.test_nothing_left import enter_namespaces

__all__ = ["session"]

LABS = 8
KINDS = ("net", "mnt")


def process_of(lab: AgentLab) -> int:
    return lab_process(lab.nodes["client"])


def namespaces(lab: AgentLab) -> set[str]:
    """The namespaces of every node, as `net:[4026532]`; of dead ones the numbers may come again."""
    named = [f"/proc/self/ns/{kind}" for kind in KINDS]
    said = [node.call("command", argv=["readlink", *named]) for node in lab.nodes.values()]
    return {line for text in said for line in text.split()}


def cookies(lab: AgentLab) -> set[int]:
    """The numbers of every node's network namespace, which never come again."""
    return {node.call("cookie") for node in lab.nodes.values()}


@pytest.mark.slow("eight labs, one after another")
def test_few_processes_serve_many_labs_and_no_namespace_comes_twice(session: Netns) -> None:
    processes, seen = [], []
    for _ in range(LABS):
        with session.start(Setting(TOPOLOGY)) as lab:
            processes.append(process_of(lab))
            assert len(namespaces(lab)) == 1 + len(lab.nodes), "one set of mounts, and a network for each node"
            seen.append(cookies(lab))
    assert len(set(processes)) <= SPARE + 1
    assert len(set.union(*seen)) == LABS * 3


def test_labs_that_live_at_once_have_each_a_process(session: Netns) -> None:
    with session.start(Setting(TOPOLOGY)) as one, session.start(Setting(TOPOLOGY)) as other:
        assert process_of(one) != process_of(other)
        assert not namespaces(one) & namespaces(other)


PATIENT = Setting(TOPOLOGY, waits=LONG)
"""Of a lab whose attempt is to wait for long."""


@contextmanager
def waiting(lab: AgentLab) -> Iterator[None]:
    """For as long as it must have waited before its process is given another lab."""
    with lab.waiting():
        time.sleep(AWHILE * 1.2)
        yield


@contextmanager
def sharing(session: Netns) -> Iterator[tuple[AgentLab, AgentLab]]:
    """Two labs of one process."""
    with session.start(PATIENT) as one, ExitStack() as labs:
        with waiting(one):
            other = labs.enter_context(session.start(PATIENT))
        assert process_of(one) == process_of(other)
        yield one, other


@pytest.mark.slow("labs that wait until their process may have another one")
def test_a_lab_that_waits_shares_its_process_and_nothing_else(session: Netns) -> None:
    with sharing(session) as (one, other):
        with waiting(one), session.start(PATIENT) as third:
            assert process_of(third) != process_of(other), "which is at work"
        assert not namespaces(one) & namespaces(other)
        assert len(cookies(one) | cookies(other)) == 6
        one.names("client", {"server": [one.nowhere]})
        for lab, nonce in ((one, "one"), (other, "other")) * 2:
            lab.nodes["client"].call("command", argv=["python3", "-c", sends(1, nonce * 100)])
        for lab, own, foreign in ((one, b"one" * 100, b"other"), (other, b"other" * 100, b"one" * 100)):
            lab.read_captures()
            seen = [frame.data for frame in lab.frames()["server"] if not frame.outgoing]
            assert sum(own in frame for frame in seen) == 2
            assert not any(foreign in frame for frame in seen)
        hosts = [lab.nodes["client"].call("command", argv=["cat", "/etc/hosts"]) for lab in (one, other)]
        assert [one.nowhere in text for text in hosts] == [True, False]


@pytest.mark.slow("labs that wait until their process may have another one")
def test_what_libc_keeps_of_another_lab_s_names_makes_no_difference(session: Netns) -> None:
    with sharing(session) as (one, other):
        one.nodes["client"].call("descriptors", before="resolve")
        for _ in range(2):
            assert dialled(other) == "ok"
            assert dialled(one) == "EAI_NODATA", "as a process that has looked up a name in these files before"


def dialled(lab: AgentLab) -> str:
    error: str = lab.nodes["client"].start("connect", **connect_job()).next(5.0)["outcome"]["error"]
    return error


@pytest.mark.slow("labs that wait until their process may have another one")
def test_a_process_from_which_a_lab_has_gone_gets_no_other_before_it_rests(session: Netns) -> None:
    with ExitStack() as labs:
        with session.start(PATIENT) as one, waiting(one):
            other = labs.enter_context(session.start(PATIENT))
            assert process_of(other) == process_of(one)
        with waiting(other), session.start(PATIENT) as third:
            session._bury()
            assert process_of(third) != process_of(other)
            assert everywhere(other.nodes, "clock").keys() == other.nodes.keys()


@pytest.mark.slow("a lab that waits until its process may have another one")
def test_a_lab_that_cannot_be_built_is_the_end_of_no_other(session: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    with session.start(PATIENT) as one:
        with waiting(one), monkeypatch.context() as patch:
            patch.setitem(netns.TEMPLATES, "ipv4", "198.18.{}.{}.5")
            with (
                pytest.raises(LabError, match="a lab could not be built: illegal IP address"),
                session.start(PATIENT),
            ):
                pass
        assert everywhere(one.nodes, "clock").keys() == one.nodes.keys()
        shared = process_of(one)
    for _ in range(SPARE + 2):
        with session.start(PATIENT) as lab:
            assert process_of(lab) != shared, "whatever is left of the other one is still there"


@pytest.mark.slow("a lab that waits until its process may have another one")
def test_a_process_that_has_died_gets_no_lab(session: Netns) -> None:
    with pytest.raises(LabError, match="died"), session.start(PATIENT) as one:  # noqa: PT012
        with waiting(one):
            os.kill(process_of(one), signal.SIGKILL)
            with session.start(PATIENT) as other:
                assert everywhere(other.nodes, "clock").keys() == other.nodes.keys()
        one.nodes["client"].call("clock")


HURRIED, SLOWLY = replace(PATIENT, waits=0.0), replace(PATIENT, rtt=SLOW)
"""Whose wire is to do nothing else."""


@pytest.mark.slow("labs that wait until their process may have another one")
@pytest.mark.parametrize("alone", [HURRIED, SLOWLY], ids=["hurried", "over a slow wire"])
def test_a_lab_whose_wire_must_be_in_time_has_a_process_for_itself(session: Netns, alone: Setting) -> None:
    with session.start(PATIENT) as one, waiting(one), session.start(alone) as other:
        assert process_of(other) != process_of(one), "it is not given to others"
        with waiting(other), session.start(PATIENT) as third:
            assert process_of(third) != process_of(other), "nor are others to it"


@pytest.mark.slow("labs until the first one's process comes back")
def test_what_a_lab_has_written_and_started_is_gone_in_the_next() -> None:
    leaves = "ip address add 198.18.77.7/32 dev eth0; echo left > /run/left; (setsid sleep 1000 > /dev/null 2>&1 &)"
    looks = "ip address show dev eth0; ls /run; cat /proc/[0-9]*/cmdline"
    with Netns() as session:
        with session.start(Setting(TOPOLOGY)) as lab:
            lab.nodes["client"].call("command", argv=["bash", "-c", leaves])
            first = process_of(lab)
            assert all(word in seen(lab, looks) for word in ("198.18.77.7", "left", "sleep"))
        for _ in range(SPARE + 2):
            with session.start(Setting(TOPOLOGY)) as lab:
                assert not [word for word in ("198.18.77.7", "left", "sleep") if word in seen(lab, looks)]
                if process_of(lab) == first:
                    return
        raise AssertionError("the process that had the first lab never came back")


def test_a_node_whose_names_lead_elsewhere_has_files_of_its_own(session: Netns) -> None:
    with session.start(Setting(TOPOLOGY)) as lab:
        before = namespaces(lab)
        lab.names("client", {"server": [lab.nowhere]})
        files = {name: node.call("command", argv=["cat", "/etc/hosts"]) for name, node in lab.nodes.items()}
        assert lab.nowhere in files["client"]
        assert lab.nowhere not in files["server"] == files["router"]
        lab.names("client", {})
        assert len(namespaces(lab)) == len(before) + 1


def seen(lab: AgentLab, command: str) -> str:
    text: str = lab.nodes["client"].call("command", argv=["bash", "-c", command])
    return text.replace("bash", "")


@pytest.mark.slow("a thread that does not end is waited for")
def test_a_process_with_a_thread_that_does_not_end_is_not_used_again() -> None:
    """The thread is in connect(2), and nobody answers: half a second is not enough for it."""
    with Netns() as session:
        with session.start(Setting(TOPOLOGY)) as lab:
            stuck = process_of(lab)
            rule = ["OUTPUT", "-p", "tcp", "-j", "DROP", "-m", "comment", "--comment", "stuck"]
            lab.nodes["client"].call("firewall", tool="iptables", do="add", rules=[rule])
            waiting = ["timeout", "1000", "bash", "-c", "exec 3<>/dev/tcp/198.18.2.2/8080"]
            job = {"argv": waiting, "deadline": 1000.0}
            lab.nodes["client"].start("attempt", job=job)
            lab.nodes["client"].start("connect", **connect_job())
            await_syn_sent(lab)
        for _ in range(SPARE + 2):
            with session.start(Setting(TOPOLOGY)) as lab:
                assert process_of(lab) != stuck
        ends = time.monotonic() + 5.0
        while Path(f"/proc/{stuck}").exists():
            assert time.monotonic() < ends


def await_syn_sent(lab: AgentLab) -> None:
    def syns() -> int:
        return [state for state, *_ in lab.nodes["client"].call("connections", port=8080)].count("SYN_SENT")

    lab.wait(lambda: syns() == 2, "both clients to dial", 5.0)


def connect_job() -> dict[str, object]:
    return {
        "host": "server", "port": 8080, "path": "", "family": "ipv4", "type": "stream", "mode": "blocking",
        "timeout": None, "options": {}, "privileged": True, "bind": None, "own": "", "stranger": "",
        "steps": [{"connect": None}], "request": "", "expects": "",
    }  # fmt: skip


def own() -> list[str]:
    return [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in KINDS]


def a_descriptor() -> None:
    os.open("/dev/null", os.O_RDONLY)


def a_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def a_child() -> None:
    if os.fork() == 0:
        os._exit(0)


@pytest.mark.parametrize("leak", [a_descriptor, a_thread, a_child])
def test_whatever_is_left_is_noticed(leak: Callable[[], None]) -> None:
    def planted() -> list[bool]:
        enter_namespaces()
        base = Base()
        there = own()
        kernel.unshare(kernel.CLONE_NEWNET)
        os.close(base.copy_mounts())
        base.back()
        clean = base.is_all() and own() == there
        leak()
        return [clean, base.is_all()]

    assert forked(planted) == [True, False]


def test_a_process_that_has_had_a_lab_may_run_everywhere_again() -> None:
    def had() -> list[bool]:
        enter_namespaces()
        usable, base = os.sched_getaffinity(0), Base()
        kernel.stay_on()
        one = len(os.sched_getaffinity(0)) == 1
        base.back()
        return [one, os.sched_getaffinity(0) == usable]

    assert forked(had) == [True, True]


@pytest.mark.parametrize("number", range(5))
def test_a_processor_is_chosen_by_a_number_of_any_size(number: int) -> None:
    def chosen() -> tuple[list[int], list[int]]:
        usable = sorted(os.sched_getaffinity(0))
        kernel.stay_on(number)
        return usable, sorted(os.sched_getaffinity(0))

    usable, one = forked(chosen)
    assert one == [usable[number % len(usable)]]


def test_a_lab_without_ipv6_has_it_on_no_device(session: Netns) -> None:
    argv = ["bash", "-c", "cat /proc/sys/net/ipv6/conf/[!adl]*/disable_ipv6"]
    families: tuple[tuple[Family, str], ...] = (("ipv4", "1"), ("ipv6", "0"))
    for family, disabled in families:
        with session.start(Setting(TOPOLOGY, family=family)) as lab:
            found = {name: node.call("command", argv=argv).split() for name, node in lab.nodes.items()}
            assert {name: set(values) for name, values in found.items()} == {name: {disabled} for name in lab.nodes}


def sends(count: int, payload: str = "x" * 900) -> str:
    to = f"b'{payload}', ('198.18.2.2', 9)"
    return f"import socket; s = socket.socket(2, 2); [s.sendto({to}) for _ in range({count})]"


@pytest.mark.slow("a round trip of a second, half of which no busy machine takes to ask")
def test_what_is_asked_after_the_wire_is_drained_waits_for_it(session: Netns) -> None:
    with session.start(Setting(TOPOLOGY, rtt=1.0)) as lab:
        lab.nodes["client"].call("command", argv=["python3", "-c", sends(1)])
        began = time.monotonic()
        found = asked(lab.nodes, lab.drained, {"server": [("capture", {"do": "read"})], "client": [("clock", {})]})
        assert time.monotonic() - began > 0.1, "what was asked last was answered before the wire was empty"
        frames = [base64.b64decode(data) for _, _, data in found["server"][0]["frames"]]
        assert sum(b"x" * 900 in frame for frame in frames) == 1


@pytest.mark.slow("a lab that is stopped while its client sends")
def test_frames_that_the_wire_could_not_take_are_counted(session: Netns) -> None:
    with session.start(Setting(TOPOLOGY)) as lab:
        argv = ["python3", "-c", f"import time; time.sleep(0.5); {sends(20_000)}"]
        client = lab.nodes["client"].start("attempt", job={"argv": argv, "deadline": 30.0})
        stopped = process_of(lab)
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(stopped, signal.SIGCONT)
        assert client.next(30.0)["exit"] == 0
        lab.read_captures()
        assert lab.lost[ROUTER] > 0
        assert lab.lost["client"] > 0


def test_a_program_of_a_node_is_on_a_host_of_its_name(session: Netns) -> None:
    with session.start(Setting(TOPOLOGY)) as lab:
        job = {"argv": ["uname", "-n"], "deadline": 10.0}
        said = {name: node.start("attempt", job=job).next(10.0)["stdout"] for name, node in lab.nodes.items()}
        assert said == {name: f"{name}\n" for name in lab.nodes}
    assert socket.gethostname() not in lab.nodes
