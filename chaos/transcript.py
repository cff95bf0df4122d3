"""A conversation for people: compact lines in the wire language, and a table with times and relative numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from chaos.conversation import MODULUS, Client, direction, key, opener, segment
from chaos.icmp import errno_name
from chaos.packets import FLAGS, Packet


def render(packets: Sequence[Packet], client: Client = frozenset()) -> list[str]:
    """The conversation as patterns that match it: `> syn x2`, `< syn-ack`; equal neighbours are one line."""
    client = client or opener(packets)
    runs = groupby(f"{direction(packet, client)} {segment(packet)}" for packet in packets)
    return [line if (count := len(list(run))) == 1 else f"{line} x{count}" for line, run in runs]


def table(packets: Sequence[Packet], client: Client = frozenset(), limit: int | None = None) -> list[str]:
    """A line a packet: milliseconds since the first, direction, name, flags, seq and ack relative to the SYNs, length.

    With several 4-tuples also the client's port. At most `limit` lines: of too many, the middle is left out.
    """
    client = client or opener(packets)
    ports = {tuple_.client_port for packet in packets if (tuple_ := key(packet, client))}
    base: dict[tuple[str, int, str, int], int] = {}
    lines = []
    for packet in packets:
        base.setdefault((packet.src, packet.sport, packet.dst, packet.dport), packet.seq)
        elapsed = (packet.time_ns - packets[0].time_ns) / 1e6
        tuple_ = key(packet, client)
        port = f" :{tuple_.client_port}" if tuple_ and len(ports) > 1 else ""
        lines.append(f"{elapsed:11.3f} ms{port}  {direction(packet, client)} {_told(packet, base)}")
    return shortened(lines, limit)


def shortened(lines: list[str], limit: int | None) -> list[str]:
    """The lines, or the first and the last of them with a line between that counts the missing."""
    if limit is None or len(lines) <= limit:
        return lines
    tail = (limit - 1) // 2
    head = max(0, limit - 1 - tail)
    missing = len(lines) - head - tail
    return [*lines[:head], f"        ... {missing} more", *lines[len(lines) - tail :]]


def _told(packet: Packet, base: dict[tuple[str, int, str, int], int]) -> str:
    if packet.protocol != "tcp":
        return _told_icmp(packet, base)
    flags = ",".join(flag for flag in FLAGS if flag in packet.flags) or "-"
    seq = _relative(packet.seq, base.get((packet.src, packet.sport, packet.dst, packet.dport)))
    ack = _relative(packet.ack, base.get((packet.dst, packet.dport, packet.src, packet.sport)))
    acknowledged = f" ack={ack}" if "ACK" in packet.flags else ""
    return f"{segment(packet):<8} [{flags}] seq={seq}{acknowledged} len={packet.length}"


def _told_icmp(packet: Packet, base: dict[tuple[str, int, str, int], int]) -> str:
    text = f"{segment(packet):<8} from {packet.src}"
    if packet.icmp is not None:
        text += f" ({errno_name(packet.protocol, *packet.icmp) or 'ends no connect'})"
    if packet.quoted is not None and packet.quoted.seq is not None:
        text += f", quoting seq={_relative(packet.quoted.seq, base.get(packet.quoted[:4]))}"
    return text


def _relative(number: int, base: int | None) -> int:
    """The number as an offset from the first seen in its direction; as it is when none was seen."""
    return number if base is None else (number - base) % MODULUS
