"""What every backend must give: the same tests for each that is found in chaos/backends/, as root and as nobody.

What moves packets is asked of those that have a kernel; the rest of the contract holds for the fake as well.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import chaos.backends
from chaos import topology
from chaos.backends.channel import AgentNode, asked
from chaos.backends.fake import Fake
from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns
from chaos.clients.socket import Socket
from chaos.conversation import segment
from chaos.errors import LabError
from chaos.model import ROUTER, Endpoint, Listen, Setting
from chaos.packets import Packet
from tests.deaths import kill_lab
from tests.engines import docker_engine
from tests.nobody import PYTHON, as_nobody

__all__ = ["docker_engine"]

EXCHANGES, LABS = {"docker": 200}, 10
"""A thousand exchanges on every backend; in containers, where the same code captures, fewer."""
KILLED = ["sh", "-c", "kill -9 $PPID"]


def backends() -> dict[str, type]:
    """Every class of chaos/backends/ that is a session of labs: it can be entered, and starts one for a setting."""
    modules = [module.name for module in pkgutil.iter_modules(chaos.backends.__path__, "chaos.backends.")]
    return {
        module.removeprefix("chaos.backends."): value
        for module in modules
        for value in vars(importlib.import_module(module)).values()
        if isinstance(value, type) and value.__module__ == module
        if hasattr(value, "start") and "setting" in inspect.signature(value.start).parameters
        if hasattr(value, "__enter__")
    }


REAL = [name for name, backend in backends().items() if not issubclass(backend, Fake)]


def params(names: Iterable[str]) -> list[Any]:
    """As parameters; containers take their time."""
    slow = pytest.mark.slow("starts containers")
    return [pytest.param(name, marks=slow) if name == "docker" else name for name in names]


@pytest.fixture(scope="module", params=params(backends()))
def backend(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "docker":
        request.getfixturevalue("docker_engine")
    with backends()[request.param]() as session:
        yield session


def kernel_of(session: Any) -> None:
    """Skip what asks for packets where there are none."""
    if isinstance(session, Fake):
        pytest.skip("no packet ever moves here")


def setting(**more: Any) -> Setting:
    return Setting(topology.find("client-server", Path.cwd()), **more)


@contextmanager
def started(backend: Any, **more: Any) -> Iterator[AgentLab]:
    """A lab. Containers of one serve the next, as they do after a run, if they are all there and can be reset."""
    with backend.start(setting(**more)) as lab:
        yield lab
        lab.recovered = True


@pytest.fixture
def lab(backend: Any) -> Iterator[AgentLab]:
    with started(backend) as lab:
        yield lab


def test_netns_and_the_fake_are_found() -> None:
    assert {"fake", "netns"} <= backends().keys()


@pytest.mark.parametrize("path", ["routed", "direct"])
def test_every_node_answers_for_itself(backend: Any, path: Any) -> None:
    with started(backend, path=path) as lab:
        assert set(lab.nodes) == {"client", "server", *([ROUTER] if path == "routed" else [])}
        for name, node in lab.nodes.items():
            assert node.name == name
            assert node.call("sysctl", read=["net/ipv4/tcp_syn_retries"]).keys() == {"net/ipv4/tcp_syn_retries"}


def test_a_lab_has_one_processor(backend: Any, lab: AgentLab) -> None:
    """What leaves by two may be overtaken: the final ACK of a handshake by the data that follow it."""
    kernel_of(backend)
    argv = ["sed", "-n", "s/^Cpus_allowed_list:\\t//p", "/proc/self/status"]
    (found,) = {node.call("command", argv=argv) for node in lab.nodes.values()}
    assert found.strip().isdecimal()


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_addresses_are_of_the_family_and_no_two_alike(backend: Any, family: Any) -> None:
    with started(backend, family=family) as lab:
        towards = {lab.link_address(ROUTER, end) for end in ("client", "server")}
        found = [lab.nodes["client"].address, lab.target_address, lab.nowhere, *towards]
        assert len(set(found)) == len(found)
        assert all((":" in address) == (family == "ipv6") for address in found)
        assert lab.target_address == lab.nodes["server"].address == lab.link_address("server", "server")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_names_resolve_to_the_family_s_address_alone(backend: Any, family: Any) -> None:
    with started(backend, family=family) as lab:
        for node in ("client", "server"):
            for name in ("client", "server"):
                assert resolved(lab, node, name) == lab.nodes[name].address


def resolved(lab: AgentLab, node: str, name: str) -> str:
    text: str = lab.nodes[node].call("command", argv=["getent", "hosts", name])
    return text.partition(" ")[0]


def test_a_name_can_lead_elsewhere_and_back(lab: AgentLab) -> None:
    lab.names("client", {"server": [lab.nowhere]})
    assert resolved(lab, "client", "server") == lab.target_address == lab.nowhere
    lab.names("client", {})
    assert resolved(lab, "client", "server") == lab.target_address == lab.nodes["server"].address


def test_the_listener_is_where_the_setting_says(backend: Any) -> None:
    listen = Listen(node="client", port=99, backlog=7)
    with started(backend, listen=listen, target=Endpoint("client", 99), client="server") as lab:
        assert backlog_of(lab) == 7


def backlog_of(lab: AgentLab) -> int | None:
    listen = lab.setting.listen
    queue: dict[str, int] | None = lab.nodes[listen.node].call("queue", port=listen.port)
    return queue["backlog"] if queue else None


@pytest.mark.parametrize("do", ["absent", "never-accept", "silent", "close", "abort", "forget"])
@pytest.mark.parametrize("raises", [False, True], ids=["body-ends", "body-raises"])
def test_listening_replaces_the_listener_and_restores_it(lab: AgentLab, do: str, raises: bool) -> None:
    assert backlog_of(lab) == 128
    with pytest.raises(KeyError) if raises else ExitStack(), lab.listening(do=do, backlog=3) as listener:
        assert backlog_of(lab) == (None if do == "absent" else 3)
        assert (listener is None) == (do == "absent")
        assert listener is None or listener.report()["acted"] == 0
        if raises:
            raise KeyError
    assert backlog_of(lab) == 128


def test_fill_fills_the_accept_queue(lab: AgentLab) -> None:
    with lab.listening(do="never-accept", backlog=1, fill=2):
        assert lab.nodes["server"].call("queue", port=8080) == {"accept": 2, "backlog": 1}


def test_drain_and_hold_return_and_hold_looks(lab: AgentLab) -> None:
    looked = []
    lab.at_hold = lambda: looked.append(True)
    lab.drain()
    lab.hold()
    assert looked == [True]


def test_a_condition_that_never_holds_is_named(lab: AgentLab) -> None:
    with pytest.raises(LabError, match="the moon"):
        lab.wait(lambda: False, "the moon", 0.02)
    lab.wait(lambda: True, "nothing", 0.0)


def test_large_answers_of_two_nodes_do_not_wait_for_each_other(backend: Any, lab: AgentLab) -> None:
    """More than the buffers of both lines hold; in the netns backend one process writes them, one after the other."""
    kernel_of(backend)
    question = ("command", {"argv": ["bash", "-c", "printf %3000000s"]})
    answers = asked(lab.nodes, {"server": [question], "client": [question]})
    assert {name: len(text) for name, (text,) in answers.items()} == {"server": 3_000_000, "client": 3_000_000}


def test_two_labs_at_once_are_two(backend: Any) -> None:
    with started(backend) as one, started(backend) as other:
        one.names("client", {"server": [one.nowhere]})
        assert resolved(one, "client", "server") == one.nowhere
        assert resolved(other, "client", "server") == other.nodes["server"].address


def die(session: Any, lab: AgentLab, node: str) -> None:
    """The agent in this node is killed."""
    if isinstance(session, Fake):
        lab.nodes[node].channel.dead = True
        return
    if isinstance(session, Netns):
        kill_lab(lab, node)
        return
    with pytest.raises(LabError, match=f"'{node}' died"):
        lab.nodes[node].call("command", argv=KILLED)


@pytest.mark.parametrize("node", ["client", "server", ROUTER])
def test_every_call_to_a_dead_agent_names_its_node(backend: Any, node: str) -> None:
    with backend.start(setting()) as lab:
        die(backend, lab, node)
        calls: list[Callable[[], object]] = [
            lambda: lab.nodes[node].call("counters"),
            lambda: lab.nodes[node].start("program", argv=["true"], port=1).next(5.0),
            lambda: lab.nodes[node].call("names", hosts=""),
        ]
        if node != ROUTER:
            calls += [lambda: lab.packets(node)]
        else:
            calls += [lab.drain]
        if node == "server":
            calls += [lambda: lab.listening(do="absent").__enter__(), lab.acted]
        for call in calls:
            with pytest.raises(LabError, match=f"'{node}'"):
                call()
        with pytest.raises(LabError, match=r"the agent in node '\w+' died"):
            lab.quiesce()


# -- what only a kernel can do


def exchange(lab: AgentLab) -> None:
    """One known exchange: a handshake, a nonce there and back; its client closes silently."""
    outcome = Socket().attempt(lab)
    lab.release()
    assert outcome.error == "ok", outcome


def test_a_healthy_network_carries_the_client_s_nonce(backend: Any, lab: AgentLab) -> None:
    kernel_of(backend)
    lab.mark()
    exchange(lab)
    lab.drain()
    kinds = [segment(packet) for packet in lab.packets("client") if packet.protocol == "tcp"]
    assert kinds[:4] == ["syn", "syn-ack", "ack", "data"]
    assert kinds.count("data") == 2


def test_quiesce_leaves_no_socket_and_no_neighbour(backend: Any, lab: AgentLab) -> None:
    kernel_of(backend)
    exchange(lab)
    Socket(steps=("connect", "send")).attempt(lab)
    lab.quiesce()
    for node in lab.nodes.values():
        assert node.call("connections", port=8080) == []
        assert neighbours(node) == []


def neighbours(node: AgentNode) -> list[Any]:
    """What the node remembers of its links; multicast (NOARP) and the wire's (PERMANENT) are rules and no memory, and
    who has not been asked for has no state.
    """
    found = json.loads(node.call("command", argv=["ip", "-json", "neigh", "show", "nud", "all"]) or "[]")
    return [entry for entry in found if entry.get("state", ["NOARP"]) not in (["NOARP"], ["PERMANENT"])]


def same(packet: Packet) -> tuple[Any, ...]:
    """What both ends must have seen alike."""
    return packet.src, packet.sport, packet.dst, packet.dport, packet.seq, packet.ack, packet.flags, packet.payload


def missing(backend: Any, count: int) -> int:
    """Packets that one end's capture has and the other's lacks, or that the exchange must have and neither has."""
    with started(backend, rtt=0.0002) as lab:
        lab.mark()
        for _ in range(count):
            exchange(lab)
        lab.drain()
        seen = {node: Counter(same(it) for it in lab.packets(node) if it.protocol == "tcp") for node in lab.captured}
        kinds = Counter(segment(it) for it in lab.packets("client") if it.protocol == "tcp")
        lost: int = sum(lab.lost.values())
    ends = (seen["client"] - seen["server"]) + (seen["server"] - seen["client"])
    wanted = {"syn": count, "syn-ack": count, "data": 2 * count}
    return lost + sum(ends.values()) + sum(max(0, wanted[kind] - kinds[kind]) for kind in wanted)


@pytest.mark.slow(
    "a thousand exchanges, four labs at a time; one where containers are dearer than all of its exchanges"
)
@pytest.mark.parametrize("name", REAL)
def test_captures_miss_nothing(name: str, request: pytest.FixtureRequest) -> None:
    if name == "docker":
        request.getfixturevalue("docker_engine")
    with backends()[name]() as session, ThreadPoolExecutor(1 if name == "docker" else 4) as threads:
        found = threads.map(lambda _: missing(session, EXCHANGES.get(name, 1000) // LABS), range(LABS))
        assert sum(found) == 0


@pytest.mark.slow("runs this file again as another user")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; the tests above ran unprivileged")
def test_all_of_it_holds_for_an_ordinary_user() -> None:
    chosen = "not captures_miss and not ordinary_user and not docker"
    done = as_nobody([*PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", chosen], patience=120.0)
    assert done.returncode == 0, done.stdout + done.stderr
