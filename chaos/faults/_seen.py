"""Proofs that a capture gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chaos.conversation import direction, opener, segment
from chaos.evidence import Evidence
from chaos.model import Lab
from chaos.packets import Packet


@dataclass(frozen=True)
class Way:
    """A connection of the attempt: who dials, and the node, address and port that are dialled."""

    dialler: str
    node: str
    address: str
    port: int

    def to_end(self, packets: Iterable[Packet], kind: str) -> list[Packet]:
        """The segments of one kind that were sent to the end that is dialled."""
        goal = (self.address, self.port)
        return [packet for packet in packets if (packet.dst, packet.dport) == goal and segment(packet) == kind]

    def of_end(self, packets: Iterable[Packet], kind: str) -> list[Packet]:
        """The segments of one kind that the end that is dialled has sent."""
        source = (self.address, self.port)
        return [packet for packet in packets if (packet.src, packet.sport) == source and segment(packet) == kind]


def way_to(lab: Lab, node: str) -> Way:
    """The connection that ends at this node: the client's, or behind a Toxiproxy the one that the proxy makes."""
    setting = lab.setting
    if setting.proxied and node == setting.listen.node:
        return Way(setting.target.node, node, lab.nodes[node].address, setting.listen.port)
    return Way(setting.client, setting.target.node, lab.target_address, setting.target.port)


def no_reset(node: str) -> Callable[[Evidence], str | None]:
    """Doubt when there is no RST in the conversation in which this node is an end."""

    def doubt(evidence: Evidence) -> str | None:
        found = "rst" in {segment(packet) for packet in evidence.leg(node)}
        return None if found else f"the capture at {_seen_at(evidence, node)} has no RST"

    return doubt


def no_reset_at(node: str) -> Callable[[Evidence], str | None]:
    """Doubt when the capture of this very node has no RST: one that went to the target never comes to the client."""

    def doubt(evidence: Evidence) -> str | None:
        found = "rst" in {segment(packet) for packet in evidence.packets[node]}
        return None if found else f"the capture at {node} has no RST"

    return doubt


def no_fin(node: str) -> Callable[[Evidence], str | None]:
    """Doubt when there is no FIN from the end that is dialled in the conversation in which this node is an end."""

    def doubt(evidence: Evidence) -> str | None:
        packets = evidence.leg(node)
        closing = [packet for packet in packets if "FIN" in packet.flags and direction(packet, opener(packets)) == "<"]
        return None if closing else f"the capture at {_seen_at(evidence, node)} has no FIN from the peer"

    return doubt


def _seen_at(evidence: Evidence, node: str) -> str:
    return node if evidence.leg(node) is evidence.packets.get(node) else evidence.client


def no_icmp(kind: int, code: int, port: int) -> Callable[[Evidence], str | None]:
    """Doubt when no capture has such an ICMP error about a segment or datagram of this port; 0 of `raw`."""

    def doubt(evidence: Evidence) -> str | None:
        for packet in (packet for packets in evidence.attempt.values() for packet in packets):
            if packet.icmp == (kind, code) and packet.quoted and port in (packet.quoted.sport, packet.quoted.dport):
                return None
        return f"no capture has an ICMP {kind}/{code} that quotes such a segment"

    return doubt
