"""Segments that no socket sends: what is forged is what a capture decodes, and what the RFCs say is judged by."""

from __future__ import annotations

import struct

import pytest

from chaos.agent import forge, forged_reset, tap
from chaos.packets import Frame, Packet, decode

ENDS = {
    "ipv4": (("198.18.1.2", 40000), ("198.18.2.2", 8080), 0x0800),
    "ipv6": (("2001:db8:0:1::2", 40000), ("2001:db8:0:2::2", 8080), 0x86DD),
}
MACS = b"\2\0\0\0\0\1" * 2
FAMILIES = pytest.mark.parametrize("family", ENDS)


def framed(packet: bytes, kind: int) -> bytes:
    return MACS + struct.pack("!H", kind) + packet


def decoded(frame: bytes) -> Packet:
    packet = decode(Frame(1, True, frame, len(frame)))
    assert packet is not None
    return packet


def sent(family: str, **numbers: int) -> tap.Seen:
    """A client's segment as a tap sees it."""
    client, server, kind = ENDS[family]
    seen = tap.parsed(framed(forge.packet(client, server, **numbers), kind))
    assert seen is not None
    return seen


@FAMILIES
def test_what_is_forged_is_what_a_capture_decodes(family: str) -> None:
    client, server, kind = ENDS[family]
    for flags, names in ((forge.SYN, ("SYN",)), (forge.RST | forge.ACK, ("RST", "ACK")), (forge.FIN, ("FIN",))):
        packet = decoded(framed(forge.packet(client, server, flags=flags, seq=2**32 + 7, ack=9), kind))
        assert (packet.src, packet.sport, packet.dst, packet.dport) == (*client, *server)
        assert (packet.seq, packet.ack, packet.flags, packet.length) == (7, 9, frozenset(names), 0)


@FAMILIES
def test_a_receiver_finds_the_checksums_right(family: str) -> None:
    """Summed with its checksum, a segment and its pseudo-header give 0 (RFC 1071; RFC 9293, 3.1)."""
    client, server, _ = ENDS[family]
    packet = forge.packet(client, server, flags=forge.SYN, seq=12345, ack=678)
    head, addresses = (packet[:20], packet[12:20]) if family == "ipv4" else (packet[:40], packet[8:40])
    body = packet[len(head) :]
    assert forge.checksum(addresses + struct.pack("!II", len(body), 6) + body) == 0
    if family == "ipv4":
        assert forge.checksum(head) == 0


@FAMILIES
def test_a_tap_reads_what_was_sent(family: str) -> None:
    client, server, kind = ENDS[family]
    seen = sent(family, flags=forge.ACK, seq=5, ack=6)
    assert seen == tap.Seen(framed(b"", kind), client, server, 5, 6, forge.ACK, 0)


def test_a_tap_is_not_deceived_by_what_is_no_tcp() -> None:
    assert tap.parsed(framed(b"\0" * 60, 0x0806)) is None
    assert tap.parsed(framed(b"\x45" + bytes(8) + b"\x11" + bytes(40), 0x0800)) is None
    assert tap.parsed(framed(b"\x45", 0x0800)) is None


MOMENTS = {
    "syn": (forge.SYN, b""),
    "accept": (forge.ACK, b""),
    "data": (forge.ACK, b"x"),
    "the end": (forge.ACK | forge.FIN, b""),
}


@pytest.mark.parametrize("after", ["syn", "accept", "data"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_each_moment_is_told_by_its_own_segment(after: str, moment: str) -> None:
    flags, payload = MOMENTS[moment]
    seen = sent("ipv4", flags=flags, seq=1)._replace(length=len(payload))
    assert forged_reset.is_due(seen, after) == (after == moment)


@FAMILIES
@pytest.mark.parametrize(("sequence", "number"), [("exact", 6), ("in-window", 1006), ("outside", 2**30 + 6)])
def test_a_connection_is_reset_by_the_number_that_it_expects(family: str, sequence: str, number: int) -> None:
    seen = sent(family, flags=forge.ACK, seq=5, ack=6)
    packet = decoded(forged_reset.answer(seen, forged_reset.OFFSETS[sequence]))
    assert (packet.src, packet.sport, packet.dst, packet.dport) == (*seen.dst, *seen.src)
    assert (packet.seq, packet.flags) == (number, frozenset({"RST"}))


def test_a_syn_is_reset_by_its_acknowledgement() -> None:
    seen = sent("ipv4", flags=forge.SYN, seq=2**32 - 1)
    packet = decoded(forged_reset.answer(seen, forged_reset.OFFSETS["exact"]))
    assert (packet.ack, packet.flags) == (0, frozenset({"RST", "ACK"}))
