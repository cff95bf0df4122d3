"""Proofs that a capture gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from chaos.conversation import segment
from chaos.evidence import Evidence
from chaos.model import Lab
from chaos.packets import Packet


def of_target(packets: Iterable[Packet], lab: Lab, kind: str) -> list[Packet]:
    """The segments of one kind that the target sent."""
    source = (lab.target_address, lab.setting.target.port)
    return [packet for packet in packets if (packet.src, packet.sport) == source and segment(packet) == kind]


def to_target(packets: Iterable[Packet], lab: Lab, kind: str) -> list[Packet]:
    """The segments of one kind that were sent to the target."""
    goal = (lab.target_address, lab.setting.target.port)
    return [packet for packet in packets if (packet.dst, packet.dport) == goal and segment(packet) == kind]


def no_reset(evidence: Evidence) -> str | None:
    """Doubt when the client's capture has no RST in the attempt's conversation."""
    return None if "rst" in _kinds(evidence.packets[evidence.client]) else "the client's capture has no RST"


def no_fin(evidence: Evidence) -> str | None:
    """Doubt when the client's capture has no FIN from the peer."""
    found = [packet for packet in evidence.packets[evidence.client] if "FIN" in packet.flags and not packet.outgoing]
    return None if found else "the client's capture has no FIN from the peer"


def no_icmp(kind: int, code: int | None) -> Callable[[Evidence], str | None]:
    """Doubt when the client's capture has no such ICMP error."""

    def doubt(evidence: Evidence) -> str | None:
        for packet in evidence.packets[evidence.client]:
            if packet.icmp is not None and packet.icmp[0] == kind and code in (None, packet.icmp[1]):
                return None
        return f"the client's capture has no ICMP {kind}{'' if code is None else f'/{code}'}"

    return doubt


def _kinds(packets: Sequence[Packet]) -> set[str]:
    return {segment(packet) for packet in packets}
