"""A TCP segment in an Ethernet frame: what a rule of the wire looks at, and the checksums of what we make or mend.

Formats: RFC 791 (IPv4), 8200 (IPv6), 9293 (TCP), 1071 (the Internet checksum). TCP over IPv6 is recognised without
extension headers, as Linux sends it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

ETHERNET = 14
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
TCP = 6
FIN, SYN, RST, ACK = 1, 2, 4, 16


class Segment(NamedTuple):
    """Where things are in a frame: `transport` is the offset of the TCP header, `end` the end by the IP header.

    src, dst: packed addresses. flags: the lower byte of TCP's. length: bytes of payload.
    """

    version: int
    src: bytes
    dst: bytes
    sport: int
    dport: int
    flags: int
    transport: int
    end: int
    length: int


def parse(frame: bytes) -> Segment | None:
    """The segment in this frame, or None when it holds none (another protocol, a later fragment, too short)."""
    try:
        if frame[12:14] == IPV4:
            return _ipv4(frame)
        return _ipv6(frame) if frame[12:14] == IPV6 else None
    except (IndexError, struct.error):
        return None  # cut short


def _ipv4(frame: bytes) -> Segment | None:
    if frame[23] != TCP or struct.unpack_from("!H", frame, 20)[0] & 0x1FFF:
        return None
    transport = ETHERNET + (frame[14] & 15) * 4
    end = ETHERNET + int(struct.unpack_from("!H", frame, 16)[0])
    return _tcp(frame, 4, frame[26:30], frame[30:34], transport, end)


def _ipv6(frame: bytes) -> Segment | None:
    if frame[20] != TCP:
        return None
    transport = ETHERNET + 40
    end = transport + int(struct.unpack_from("!H", frame, 18)[0])
    return _tcp(frame, 6, frame[22:38], frame[38:54], transport, end)


def _tcp(frame: bytes, version: int, src: bytes, dst: bytes, transport: int, end: int) -> Segment:
    sport, dport = struct.unpack_from("!HH", frame, transport)
    payload = end - transport - (frame[transport + 12] >> 4) * 4
    return Segment(version, src, dst, sport, dport, frame[transport + 13], transport, end, payload)


def names(segment: Segment) -> frozenset[str]:
    """Every name of the language that a segment answers to: `syn`, `syn-ack`, `ack`, `data`, `fin`, `rst`, `any`."""
    found = {"any"}
    if segment.flags & RST:
        found.add("rst")
    elif segment.flags & SYN:
        found.add("syn-ack" if segment.flags & ACK else "syn")
    else:
        if segment.flags & FIN:
            found.add("fin")
        elif segment.length == 0 and segment.flags & ACK:
            found.add("ack")
        if segment.length:
            found.add("data")
    return frozenset(found)


def checksum(data: bytes) -> int:
    """The Internet checksum of these bytes (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4_header(header: bytes) -> bytes:
    """An IPv4 header with its checksum set right."""
    blank = header[:10] + b"\0\0" + header[12:]
    return blank[:10] + struct.pack("!H", checksum(blank)) + blank[12:]
