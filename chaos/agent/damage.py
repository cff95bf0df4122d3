"""What a bad link does to a segment: bits flipped, its end cut off. The TCP checksum is left as it was, and tells."""

from __future__ import annotations

import random
import struct

from chaos.agent.segment import ETHERNET, Segment, ipv4_header

FIXED = 20
"""Bytes of a TCP header without options: a flip there would make another segment of it, and hide it from a capture."""
CHECKSUM = 16
"""Where in the TCP header its checksum is."""


def flipped(frame: bytes, segment: Segment, chance: random.Random) -> bytes:
    """One bit flipped, of payload or options; of the checksum where there is neither."""
    first, last = segment.transport + FIXED, segment.end
    if first >= last:
        first, last = segment.transport + CHECKSUM, segment.transport + CHECKSUM + 2
    at, bit = chance.randrange(first, last), 1 << chance.randrange(8)
    return frame[:at] + bytes([frame[at] ^ bit]) + frame[at + 1 :]


def miscounted(frame: bytes, segment: Segment, chance: random.Random) -> bytes:
    """Another checksum than the right one, whatever it was: never its complement, which RFC 1071 takes for the same."""
    at = segment.transport + CHECKSUM
    wrong = (int(struct.unpack_from("!H", frame, at)[0]) + chance.randrange(1, 0xFFFF)) % 0xFFFF
    return frame[:at] + struct.pack("!H", wrong) + frame[at + 2 :]


def cut(frame: bytes, segment: Segment, kept: int) -> bytes:
    """The frame with at most `kept` bytes behind its IP header, whose length says so.

    A packet that is shorter than its own IP header says goes no further than the next hop (net/ipv4/ip_input.c,
    ip_rcv_core: InTruncatedPkts), which a plain drop imitates; this one reaches its TCP.
    """
    end = min(segment.end, segment.transport + kept)
    if segment.version == 6:
        return frame[:18] + struct.pack("!H", end - segment.transport) + frame[20:end]
    header = frame[ETHERNET : segment.transport]
    header = header[:2] + struct.pack("!H", end - ETHERNET) + header[4:]
    return frame[:ETHERNET] + ipv4_header(header) + frame[segment.transport : end]
