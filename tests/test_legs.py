"""What leaks from one leg of a run into the next: each leak is made, seen, and gone after quiesce."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from chaos import kinds
from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns
from chaos.clients.socket import Socket
from chaos.conversation import segment
from chaos.faults.drop import Drop
from chaos.faults.never_accept import NeverAccept
from chaos.faults.no_neighbour import NoNeighbour
from chaos.model import ROUTER, Family, Node, Outcome, Setting
from tests.labs import TOPOLOGY, lab, session

__all__ = ["lab", "session"]

PORT, TRIES = 8080, 5
CONNECT = Socket(steps=("connect",))
CLOSES_FIRST = ["bash", "-c", "exec 3<>/dev/tcp/server/8080; echo hello >&3; read -r answer <&3; echo $answer"]


def connections(node: Node) -> list[str]:
    """The states of the node's connections to or from the listener's port."""
    return sorted(found[0] for found in node.call("connections", port=PORT))


def soon(lab: AgentLab, node: str, states: list[str]) -> None:
    lab.wait(lambda: connections(lab.nodes[node]) == states, f"{states} at {node}", 5.0)


def neighbours(node: Node) -> dict[str, str]:
    """The address of each neighbour that has been asked for, and the state of its entry."""
    found = json.loads(node.call("command", argv=["ip", "-4", "-json", "neigh", "show", "nud", "all", "dev", "eth0"]))
    return {entry["dst"]: entry["state"][0] for entry in found if entry.get("state", ["NOARP"]) != ["NOARP"]}


def attempt(lab: AgentLab, client: Socket = CONNECT) -> Outcome:
    lab.mark()
    return client.attempt(lab)


class TestNeverAccepted:
    def test_it_stays_in_the_queue_when_the_client_has_gone(self, lab: AgentLab) -> None:
        with lab.listening(do="never-accept"):
            assert attempt(lab).error == "ok"
            lab.release()
            lab.drain()
            assert lab.nodes["server"].call("queue", port=PORT)["accept"] == 1

    def test_quiesce_and_the_next_listener_have_an_empty_queue(self, lab: AgentLab) -> None:
        with NeverAccept("server", 5).inject(lab):
            assert attempt(lab).error == "ok"
        lab.quiesce()
        assert lab.nodes["server"].call("queue", port=PORT)["accept"] == 0
        assert connections(lab.nodes["server"]) == connections(lab.nodes["client"]) == []
        assert attempt(lab, Socket()).error == "ok"
        assert len(lab.accepts()) == 1, "the listener met a connection of the leg before"


class TestTimeWait:
    """The client has one ephemeral port; whoever closes first keeps it for a minute (RFC 9293, 3.6.1)."""

    def one_port(self, lab: AgentLab) -> None:
        lab.nodes["client"].call("sysctl", write=[("net/ipv4/ip_local_port_range", "40000 40000")])
        assert lab.nodes["client"].call("command", argv=CLOSES_FIRST) == "hello\n"
        soon(lab, "client", ["TIME_WAIT"])

    def test_it_takes_the_port(self, lab: AgentLab) -> None:
        self.one_port(lab)
        assert attempt(lab).error == "EADDRNOTAVAIL"

    def test_quiesce_gives_the_port_back(self, lab: AgentLab) -> None:
        self.one_port(lab)
        lab.quiesce()
        assert connections(lab.nodes["client"]) == []
        assert attempt(lab).error == "ok"


class TestNeighbours:
    def test_a_warm_entry_makes_silent_arp_do_nothing(self, lab: AgentLab) -> None:
        assert attempt(lab, Socket()).error == "ok"
        with ExitStack() as undo:
            mute(lab, undo)
            assert attempt(lab, Socket()).error == "ok"

    def test_quiesce_flushes_a_warm_entry(self, lab: AgentLab) -> None:
        assert attempt(lab, Socket()).error == "ok"
        assert neighbours(lab.nodes["client"])
        assert neighbours(lab.nodes["server"])
        lab.quiesce()
        assert not neighbours(lab.nodes["client"])
        assert not neighbours(lab.nodes["server"])

    @pytest.mark.slow("three unanswered requests, 100 ms apart")
    def test_the_fault_does_not_meet_a_warm_entry(self, lab: AgentLab) -> None:
        assert attempt(lab, Socket()).error == "ok"
        with NoNeighbour("client").inject(lab) as armed:
            assert attempt(lab).error == "EHOSTUNREACH"
            assert armed.hits() == 3

    @pytest.mark.slow("twice three unanswered requests, 100 ms apart")
    def test_a_failed_entry_is_gone_and_the_next_attempt_takes_its_time_again(self, lab: AgentLab) -> None:
        """A FAILED entry answers at once, or asks once less; from a flushed one all three requests go out again."""
        for _ in range(2):
            with NoNeighbour("client").inject(lab) as armed:
                outcome = attempt(lab)
                assert outcome.error == "EHOSTUNREACH"
                assert armed.hits() == 3
            lab.quiesce()
            assert neighbours(lab.nodes["client"]) == {}
        assert attempt(lab, Socket()).error == "ok"


def mute(lab: AgentLab, undo: ExitStack) -> None:
    """The router stops answering ARP on the client's link, and nothing is flushed."""
    name = f"net/ipv4/conf/{lab.link(ROUTER, 'client')}/arp_ignore"
    before = lab.nodes[ROUTER].call("sysctl", write=[(name, "8")])
    undo.callback(lambda: lab.nodes[ROUTER].call("sysctl", write=[(name, before[name])]))


class TestHalfOpen:
    """The client is ESTABLISHED, the server in SYN_RECV: its final ACK was dropped."""

    @contextmanager
    def half_open(self, lab: AgentLab) -> Iterator[None]:
        with Drop("server", ("ack", "data", "fin")).inject(lab):
            assert attempt(lab, Socket(steps=("connect", "send"))).error == "ok"
            assert connections(lab.nodes["server"]) == ["SYN_RECV"]
            yield

    @pytest.mark.slow("the client's kernel retransmits its data after 200 ms and more")
    def test_later_segments_complete_it(self, lab: AgentLab) -> None:
        with self.half_open(lab):
            pass
        soon(lab, "server", ["ESTABLISHED"])

    def test_quiesce_ends_it_at_both_ends_without_a_word(self, lab: AgentLab) -> None:
        with self.half_open(lab):  # until then: a tail loss probe comes within milliseconds
            lab.mark()
            lab.quiesce()
        assert connections(lab.nodes["client"]) == connections(lab.nodes["server"]) == []
        assert lab.accepts() == []
        assert not [packet for packet in lab.packets("client") if segment(packet) in ("fin", "rst")]
        assert attempt(lab, Socket()).error == "ok"
        assert len(lab.accepts()) == 1


class TestLearntMtu:
    """The router's route to the server is narrow, the client's segments too long: ICMP 3/4 teaches the client.

    A narrow link would not do: a veth drops what comes in and is longer, the server's segments, unless they are GSO's.
    """

    def learn(self, lab: AgentLab) -> None:
        server, link = lab.nodes["server"].address, lab.link(ROUTER, "server")
        narrow = ["ip", "route", "change", server, "dev", link, "proto", "static", "metric", "1024"]
        lab.nodes[ROUTER].call("command", argv=[*narrow, "mtu", "lock", "1280"])
        assert attempt(lab, Socket(size=20_000)).error == "ok"
        lab.nodes[ROUTER].call("command", argv=narrow)

    def learnt(self, lab: AgentLab) -> str:
        argv = ["ip", "-json", "route", "get", lab.nodes["server"].address]
        return str(lab.nodes["client"].call("command", argv=argv))

    def test_it_stays(self, lab: AgentLab) -> None:
        for _ in range(TRIES):  # once in a while the segments that were too long are sent again by the timer instead
            self.learn(lab)
            lab.release()
            if '"mtu":1280' in self.learnt(lab):
                return
        pytest.fail(f"not learnt: {self.learnt(lab)}")

    def test_quiesce_forgets_it(self, lab: AgentLab) -> None:
        self.learn(lab)
        lab.quiesce()
        assert "mtu" not in self.learnt(lab)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_quiesce_forgets_what_the_wire_has_taught_of_the_path_mtu(session: Netns, family: Family) -> None:
    fault = kinds.fault("icmp", {"at": ROUTER, "type": "packet-too-big", "mtu": 1280, "segment": "data"})
    with session.start(Setting(TOPOLOGY, family=family)) as lab:
        argv = ["ip", "-json", "route", "get", lab.nodes["server"].address]
        with fault.inject(lab):
            assert attempt(lab, Socket(size=20_000)).error == "ok"
        assert '"mtu":1280' in lab.nodes["client"].call("command", argv=argv)
        lab.quiesce()
        assert "mtu" not in lab.nodes["client"].call("command", argv=argv)


def test_quiesce_of_a_healthy_leg_is_quick_and_silent(lab: AgentLab) -> None:
    """What it removes is told to nobody: no FIN and no RST leave either end."""
    assert attempt(lab, Socket()).error == "ok"
    lab.drain()
    lab.mark()
    started = time.monotonic()
    lab.quiesce()
    assert time.monotonic() - started < 1.0
    assert not [packet for node in ("client", "server") for packet in lab.packets(node) if packet.protocol == "tcp"]
