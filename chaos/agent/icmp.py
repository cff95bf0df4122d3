"""ICMP errors that quote a segment, as a router or a host sends them (RFC 792, 1122, 1812, 4443)."""

from __future__ import annotations

import struct

from chaos.agent.segment import ETHERNET, Segment, checksum, ipv4_header

LONGEST_V4, LONGEST_V6 = 576, 1280
"""Bytes of the whole error: RFC 1812, 4.3.2.3 (quote as much as fits); RFC 4443, 2.4 c (the minimum IPv6 MTU)."""
INTERNETWORK_CONTROL = 0xC0
"""The precedence of an IPv4 error (RFC 1812, 4.3.2.5)."""
TTL = 64
FRAGMENTATION_NEEDED = (3, 4)


def error(frame: bytes, segment: Segment, source: bytes, kind: int, code: int, mtu: int = 0) -> bytes:
    """The frame that takes an ICMP error about `frame` back to its sender.

    source: the packed address of who tells it. mtu: of the next hop, in bytes, for 3/4 (RFC 1191) and IPv6's 2/0.
    """
    build = _v4 if segment.version == 4 else _v6
    ethernet = frame[6:12] + frame[:6] + frame[12:14]
    return ethernet + build(frame[ETHERNET : segment.end], segment.src, source, kind, code, mtu)


def _v4(quoted: bytes, to: bytes, source: bytes, kind: int, code: int, mtu: int) -> bytes:
    rest = struct.pack("!HH", 0, mtu)  # RFC 1191: the MTU in the lower half of what was unused
    message = struct.pack("!BBH", kind, code, 0) + rest + quoted[: LONGEST_V4 - 28]
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    header = struct.pack("!BBHHHBBH", 0x45, INTERNETWORK_CONTROL, 20 + len(message), 0, 0, TTL, 1, 0) + source + to
    return ipv4_header(header) + message


def _v6(quoted: bytes, to: bytes, source: bytes, kind: int, code: int, mtu: int) -> bytes:
    message = struct.pack("!BBHI", kind, code, 0, mtu) + quoted[: LONGEST_V6 - 48]
    pseudo = source + to + struct.pack("!II", len(message), 58)  # RFC 8200, 8.1
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    return struct.pack("!IHBB", 6 << 28, len(message), 58, TTL) + source + to + message
