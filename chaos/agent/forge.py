"""TCP segments written byte by byte, for what no socket of ours would send (RFC 9293, 3.1; RFC 791; RFC 8200)."""

from __future__ import annotations

import socket
import struct

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
HOPS = 64
WINDOW = 65535


def packet(
    src: tuple[str, int], dst: tuple[str, int], *, flags: int, seq: int, ack: int = 0, window: int = WINDOW
) -> bytes:
    """An IP packet with one TCP segment without options or payload; (address, port) of either family."""
    body = struct.pack("!HHIIBBHHH", src[1], dst[1], seq % 2**32, ack % 2**32, 5 << 4, flags, window, 0, 0)
    if ":" in src[0]:
        ends = socket.inet_pton(socket.AF_INET6, src[0]) + socket.inet_pton(socket.AF_INET6, dst[0])
        head = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_TCP, HOPS) + ends
        return head + _summed(body, ends + struct.pack("!II", len(body), socket.IPPROTO_TCP))
    ends = socket.inet_aton(src[0]) + socket.inet_aton(dst[0])
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, HOPS, socket.IPPROTO_TCP, 0) + ends
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return head + _summed(body, ends + struct.pack("!HH", socket.IPPROTO_TCP, len(body)))


def _summed(body: bytes, pseudo: bytes) -> bytes:
    """The segment with its checksum, over the pseudo-header too (RFC 9293, 3.1)."""
    return body[:16] + struct.pack("!H", checksum(pseudo + body)) + body[18:]


def checksum(data: bytes) -> int:
    """The Internet checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(word for (word,) in struct.iter_unpack("!H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
