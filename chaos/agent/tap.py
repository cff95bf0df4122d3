"""What a third party on the path sees: the TCP segments of one connection at one interface, as they pass."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
ETHERNET = 14
SIZES = {0x0800: 20, 0x86DD: 40}
"""IP headers without options or extension headers, by EtherType: all that a lab's nodes send for TCP."""


class Seen(NamedTuple):
    """A segment: its frame's header, (address, port) of both ends, numbers, flags (forge.py), bytes of payload."""

    ethernet: bytes
    src: tuple[str, int]
    dst: tuple[str, int]
    seq: int
    ack: int
    flags: int
    length: int


def listen(interface: str) -> socket.socket:
    """A packet(7) socket that hears all that this interface receives and sends."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((interface, ETH_P_ALL))
    return sock


def segments_to(sock: socket.socket, address: str, port: int, *, outgoing: bool) -> Iterator[Seen]:
    """The TCP segments for one address and port that this interface sends (or receives), as they come."""
    while True:
        frame, where = sock.recvfrom(1 << 16)
        seen = parsed(frame)
        if seen is not None and seen.dst == (address, port) and (where[2] == PACKET_OUTGOING) == outgoing:
            yield seen


def parsed(frame: bytes) -> Seen | None:
    """The TCP segment in this frame, if it is one."""
    kind = int.from_bytes(frame[12:14], "big")
    ip, size = frame[ETHERNET:], SIZES.get(kind, 0)
    if not size or len(ip) < size + 20 or ip[9 if size == 20 else 6] != socket.IPPROTO_TCP:
        return None
    family, ends = (socket.AF_INET, (12, 16, 20)) if size == 20 else (socket.AF_INET6, (8, 24, 40))
    src, dst = (socket.inet_ntop(family, ip[start:end]) for start, end in pairwise(ends))
    sport, dport, seq, ack, offset, flags = struct.unpack_from("!HHIIBB", ip, size)
    total = int.from_bytes(ip[2:4], "big") if size == 20 else 40 + int.from_bytes(ip[4:6], "big")
    length = max(0, total - size - (offset >> 4) * 4)
    return Seen(frame[:ETHERNET], (src, sport), (dst, dport), seq, ack, flags, length)
