"""A thousand captures of a known exchange: every segment at one end is at the other, and no number is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.measure import SCENARIOS, Row
from chaos.backends.lab import AgentLab
from chaos.backends.netns import Netns
from chaos.clients.socket import Socket
from chaos.conversation import contradictions, segment
from chaos.model import Setting
from chaos.packets import Packet
from chaos.scenario import load

LABS, EACH, AT_ONCE = 100, 10, 4
KNOWN = ("syn", "syn-ack", "ack", "data", "data")


@dataclass(frozen=True)
class Capture:
    """Of one exchange: segments captured, those seen at one end alone, known ones that are missing, contradictions."""

    segments: int
    one_sided: int
    missing: int
    contradictions: int
    lost: int


def rows() -> Iterator[Row]:
    """What is missing, by each of the ways in which it can be told."""
    setting = load(SCENARIOS / "handshake/three-way.chaos.yaml").cases[0].setting
    plain = Setting(setting.topology)
    with Netns() as backend, ThreadPoolExecutor(AT_ONCE) as pool:
        found = [
            capture for listed in pool.map(lambda _: _in_one_lab(backend, plain), range(LABS)) for capture in listed
        ]
    name = f"{len(found)} captures"
    yield Row(f"{name}: segments", sum(capture.segments for capture in found), "", None, "at both ends together")
    for field in ("one_sided", "missing", "contradictions", "lost"):
        yield Row(f"{name}: {field.replace('_', '-')}", sum(getattr(capture, field) for capture in found), "", 0)


def _in_one_lab(backend: Netns, setting: Setting) -> list[Capture]:
    with backend.start(setting) as lab:
        return [_exchange(lab) for _ in range(EACH)]


def _exchange(lab: AgentLab) -> Capture:
    lab.mark()
    outcome = Socket().attempt(lab)
    assert outcome.error == "ok", outcome
    lab.drain()
    ends = [[packet for packet in lab.packets(node) if packet.protocol == "tcp"] for node in ("client", "server")]
    client, server = (Counter(map(_identity, end)) for end in ends)
    kinds = Counter(segment(packet) for packet in ends[0])
    found = Capture(
        segments=sum(map(len, ends)),
        one_sided=sum(((client - server) + (server - client)).values()),
        missing=sum((Counter(KNOWN) - kinds).values()),
        contradictions=sum(len(contradictions(end)) for end in ends),
        lost=sum(lab.lost.values()),
    )
    lab.quiesce()
    return found


def _identity(packet: Packet) -> tuple[object, ...]:
    return packet.src, packet.sport, packet.seq, packet.ack, packet.length, packet.flags
