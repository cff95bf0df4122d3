"""What went into a Toxiproxy and what came out of it, by the capture at its own node: the proof that a toxic acted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from chaos.conversation import segment
from chaos.model import Proxy
from chaos.packets import Packet

Direction = Literal["downstream", "upstream"]


@dataclass(frozen=True)
class Stream:
    """One direction of a proxy's connections: segments with data, in order of time, without retransmissions.

    entered, left: into the proxy and out of it. closed_in, closed_out: the FINs. resets: RSTs that the proxy sent to
    its client.
    """

    entered: tuple[Packet, ...]
    left: tuple[Packet, ...]
    closed_in: tuple[Packet, ...]
    closed_out: tuple[Packet, ...]
    resets: tuple[Packet, ...]

    @property
    def bytes_in(self) -> int:
        return sum(packet.length for packet in self.entered)

    @property
    def bytes_out(self) -> int:
        return sum(packet.length for packet in self.left)


def stream(packets: Iterable[Packet], proxy: Proxy, direction: Direction) -> Stream:
    """The direction as the capture at the proxy's node has seen it."""
    ordered = sorted((packet for packet in packets if packet.protocol == "tcp"), key=lambda packet: packet.time_ns)
    near = [packet for packet in ordered if proxy.listen in _ends(packet)]
    far = [packet for packet in ordered if proxy.upstream in _ends(packet)]
    source, goal = (far, near) if direction == "downstream" else (near, far)
    entered = [packet for packet in source if not packet.outgoing]
    left = [packet for packet in goal if packet.outgoing]
    return Stream(
        tuple(_data(entered)),
        tuple(_data(left)),
        tuple(packet for packet in entered if "FIN" in packet.flags),
        tuple(packet for packet in left if "FIN" in packet.flags),
        tuple(packet for packet in near if packet.outgoing and segment(packet) == "rst"),
    )


def _ends(packet: Packet) -> tuple[tuple[str, int], ...]:
    return (packet.src, packet.sport), (packet.dst, packet.dport)


def _data(packets: Iterable[Packet]) -> Iterator[Packet]:
    seen: set[tuple[tuple[tuple[str, int], ...], int]] = set()
    for packet in packets:
        name = (_ends(packet), packet.seq)
        if packet.length and name not in seen:
            seen.add(name)
            yield packet
