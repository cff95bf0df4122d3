"""Frames as a capture saw them, decoded to what a TCP conversation is made of.

`decode` reads Ethernet, IPv4 and IPv6 with its extension headers, TCP, UDP, ICMP, ICMPv6, ARP and neighbour
discovery. It never raises: a frame cut short or a header that lies about its length gives a `Packet` with as much as
is certain (`protocol="other"`), or None when not even the addresses are there. Lengths come from the IP header, so
Ethernet's padding and a capture's snap length do not change them.

Times are nanoseconds of CLOCK_REALTIME. Sequence and acknowledgement numbers are the absolute 32-bit ones; a window is
as in the header, unscaled.
Formats: RFC 791, 792, 826, 4443, 4861, 8200, 9293.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Protocol = Literal["tcp", "udp", "icmp", "icmpv6", "arp", "nd", "raw", "other"]

FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
"""The flags of a TCP header, from the lowest bit."""

_ETHERNET, _TCP, _UDP, _ICMP, _ICMPV6, _AH, _FRAGMENT = 14, 6, 17, 1, 58, 51, 44
_RAW = 253  # for experiments (RFC 3692): what our raw sockets send
_SKIPPED = frozenset({0, 43, 60, 135, 139, 140})  # extension headers whose second byte is a length in units of 8
_ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
_NEIGHBOUR = {135: "request", 136: "reply"}


@dataclass(frozen=True)
class Frame:
    """One Ethernet frame as captured: `data` may be cut short, `length` is what was on the wire, in bytes."""

    time_ns: int
    outgoing: bool
    data: bytes
    length: int


class Quoted(NamedTuple):
    """The segment that an ICMP error is about, as it quotes it. `seq` is None for UDP, and ports are 0 for `raw`."""

    src: str
    sport: int
    dst: str
    dport: int
    seq: int | None


@dataclass(frozen=True)
class Packet:
    """One decoded frame. Ports, numbers and flags are TCP's (ports also UDP's), else 0 and empty.

    length: bytes of payload by the headers; `payload` may be shorter when the capture was cut.
    icmp: (type, code). quoted: what an ICMP error quotes.
    operation, target: of ARP and neighbour discovery: `request` or `reply`, and the address asked for.
    frame: the index of the frame in its capture.
    """

    time_ns: int
    outgoing: bool
    src: str
    dst: str
    protocol: Protocol = "other"
    sport: int = 0
    dport: int = 0
    seq: int = 0
    ack: int = 0
    flags: frozenset[str] = frozenset()
    window: int = 0
    length: int = 0
    payload: bytes = b""
    icmp: tuple[int, int] | None = None
    quoted: Quoted | None = None
    operation: str = ""
    target: str = ""
    frame: int = 0


class _Datagram(NamedTuple):
    """An IP packet without its headers: `body` as captured, `length` by the header; number -1: nothing to read."""

    src: str
    dst: str
    number: int
    body: bytes
    length: int


def decode(frame: Frame, index: int = 0) -> Packet | None:
    """The packet in this frame, or None when it holds no address that we know how to read."""
    data = frame.data[_ETHERNET:]
    ethertype = _u16(frame.data, _ETHERNET - 2) if len(frame.data) >= _ETHERNET else 0
    if ethertype == 0x0806:
        return _arp(frame, data, index)
    if ethertype not in (0x0800, 0x86DD):
        return None
    datagram = _datagram(data, max(frame.length - _ETHERNET, len(data)))
    if datagram is None:
        return None
    packet = Packet(frame.time_ns, frame.outgoing, datagram.src, datagram.dst, frame=index)
    return _transport(packet, datagram)


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _arp(frame: Frame, data: bytes, index: int) -> Packet | None:
    """ARP over Ethernet for IPv4; both of its operations name the address that is asked for."""
    if len(data) < 28 or data[:6] != b"\x00\x01\x08\x00\x06\x04" or _u16(data, 6) not in (1, 2):
        return None
    sender, other = socket.inet_ntoa(data[14:18]), socket.inet_ntoa(data[24:28])
    operation, target = ("request", other) if _u16(data, 6) == 1 else ("reply", sender)
    return Packet(frame.time_ns, frame.outgoing, sender, other, "arp", operation=operation, target=target, frame=index)


def _datagram(data: bytes, on_wire: int) -> _Datagram | None:
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        return _ipv4(data, on_wire)
    if version == 6 and len(data) >= 40:
        return _ipv6(data, on_wire)
    return None


def _ipv4(data: bytes, on_wire: int) -> _Datagram:
    header, total = (data[0] & 15) * 4, _u16(data, 2) or on_wire  # 0: a segment of over 64 KiB, not yet cut by TSO
    readable = 20 <= header <= total and not _u16(data, 6) & 0x1FFF  # later fragments have no transport header
    number = data[9] if readable else -1
    addresses = socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20])
    return _Datagram(*addresses, number, data[header:total], total - header)


def _ipv6(data: bytes, on_wire: int) -> _Datagram:
    src, dst = (socket.inet_ntop(socket.AF_INET6, data[at : at + 16]) for at in (8, 24))
    number, at, total = data[6], 40, 40 + _u16(data, 4)
    if total == 40:
        total = on_wire  # a jumbo payload, or no payload at all
    while number in _SKIPPED or number in (_AH, _FRAGMENT):
        size = _extension(number, data, at)
        if at + 8 > len(data) or at + size > total or (number == _FRAGMENT and _u16(data, at + 2) & 0xFFF8):
            return _Datagram(src, dst, -1, b"", 0)
        number, at = data[at], at + size
    return _Datagram(src, dst, number, data[at:total], total - at)


def _extension(number: int, data: bytes, at: int) -> int:
    """The size in bytes of the extension header at this place; the second byte counts in a unit of its own."""
    count = data[at + 1] if at + 1 < len(data) else 0
    if number == _FRAGMENT:
        return 8
    return (count + 2) * 4 if number == _AH else (count + 1) * 8


def _transport(packet: Packet, datagram: _Datagram) -> Packet:
    body, number = datagram.body, datagram.number
    if number == _TCP and len(body) >= 20 and 20 <= (body[12] >> 4) * 4 <= datagram.length:
        return _tcp(packet, body, datagram.length)
    if number == _UDP and len(body) >= 8:
        sport, dport, length = _u16(body, 0), _u16(body, 2), datagram.length - 8
        return replace(packet, protocol="udp", sport=sport, dport=dport, length=length, payload=body[8:])
    if number == _RAW:
        return replace(packet, protocol="raw", length=datagram.length, payload=body)
    if number in (_ICMP, _ICMPV6) and len(body) >= 4:
        return _icmp(packet, body, number)
    return packet


def _tcp(packet: Packet, body: bytes, length: int) -> Packet:
    header = (body[12] >> 4) * 4
    return replace(
        packet,
        protocol="tcp",
        sport=_u16(body, 0),
        dport=_u16(body, 2),
        seq=_u32(body, 4),
        ack=_u32(body, 8),
        flags=frozenset(name for bit, name in enumerate(FLAGS) if body[13] >> bit & 1),
        window=_u16(body, 14),
        length=length - header,
        payload=body[header:],
    )


def _icmp(packet: Packet, body: bytes, number: int) -> Packet:
    kind, code = body[0], body[1]
    if number == _ICMPV6 and kind in _NEIGHBOUR and len(body) >= 24:
        target = socket.inet_ntop(socket.AF_INET6, body[8:24])
        return replace(packet, protocol="nd", icmp=(kind, code), operation=_NEIGHBOUR[kind], target=target)
    is_error = kind in _ICMP_ERRORS if number == _ICMP else kind < 128
    quoted = _quoted(body[8:]) if is_error else None
    return replace(packet, protocol="icmp" if number == _ICMP else "icmpv6", icmp=(kind, code), quoted=quoted)


def _quoted(data: bytes) -> Quoted | None:
    """The ports and the number in what an ICMP error quotes: at least eight bytes behind the IP header (RFC 792)."""
    inner = _datagram(data, len(data))
    if inner is not None and inner.number == _RAW:
        return Quoted(inner.src, 0, inner.dst, 0, None)
    if inner is None or inner.number not in (_TCP, _UDP) or len(inner.body) < 8:
        return None
    seq = _u32(inner.body, 4) if inner.number == _TCP else None
    return Quoted(inner.src, _u16(inner.body, 0), inner.dst, _u16(inner.body, 2), seq)
