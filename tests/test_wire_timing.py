"""ICMP answers surface after one round trip, every time, and never with the next SYN a second later.

Without the wire's round trip an answer finds connect() still busy with its own SYN, and the kernel only keeps it in
mind (net/ipv4/tcp_ipv4.c, tcp_v4_err): it would surface at 1.02 s. See ARCHITECTURE.md, the wire.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from chaos import kinds, topology
from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns
from chaos.clients.socket import Socket
from chaos.conversation import segment
from chaos.counters import count
from chaos.model import Setting
from tests.labs import session

__all__ = ["session"]

ATTEMPTS = 100
LATE, NEXT_SYN = 0.005, 0.5


def surfaced(lab: AgentLab) -> float:
    """Seconds from the SYN, by the packet's own time stamp, to connect()'s return."""
    lab.mark()
    outcome = Socket(steps=("connect",)).attempt(lab)
    lab.release()
    assert outcome.error == "EHOSTUNREACH"
    syns = [packet for packet in lab.packets("client") if segment(packet) == "syn"]
    assert len(syns) == 1
    return (outcome.returned_ns - syns[0].time_ns) / 1e9


@pytest.mark.slow("a hundred attempts one after another, each a fork")
@pytest.mark.parametrize("rtt", [0.002, 0.020], ids=["2ms", "20ms"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_icmp_surfaces_after_one_round_trip(session: Netns, rtt: float, family: str) -> None:
    setting = Setting(topology.find("client-server", Path.cwd()), rtt=rtt, family=family)  # type: ignore[arg-type]
    fault = kinds.fault("icmp", {"at": "router", "type": "host-unreachable"})
    with session.start(setting) as lab, fault.inject(lab):
        times = [surfaced(lab) for _ in range(ATTEMPTS)]
        counted = count(lab.nodes["client"], "TcpExtLockDroppedIcmps")
    assert max(times) < NEXT_SYN, sorted(times)[-5:]
    assert statistics.median(times) <= rtt + LATE
    assert counted == 0
