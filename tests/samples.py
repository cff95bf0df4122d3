"""Real packets of every kind that the decoder reads, built by scapy."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from chaos.packets import Frame

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of scapy's own imports
    from scapy.config import conf

    conf.route_autoload = conf.route6_autoload = False  # packets are made and read here, and none is sent
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6EchoRequest,
        ICMPv6ND_NA,
        ICMPv6ND_NS,
        ICMPv6PacketTooBig,
        ICMPv6TimeExceeded,
        IPv6,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrFragment,
        IPv6ExtHdrHopByHop,
        IPv6ExtHdrRouting,
    )
    from scapy.layers.l2 import ARP, Ether
    from scapy.packet import Raw

A4, B4, R4 = "198.18.1.2", "198.18.2.2", "198.18.1.1"
A6, B6, R6 = "2001:db8:0:1::2", "2001:db8:0:2::2", "2001:db8:0:1::1"
TOP = 2**32 - 1
FLAGS = ("S", "SA", "A", "PA", "FA", "FPA", "R", "RA", "SEC", "U", "F", "")
T0 = 1_700_000_000_123_456_789


def tcp(**fields: Any) -> Any:
    return TCP(**{"sport": 40001, "dport": 8080, "seq": TOP, "ack": 7001, **fields})


def packets() -> Iterator[Any]:
    """scapy's packets; each of IPv4, IPv6, with extension headers, errors, ARP and ND at least once."""
    ether, v4, v6 = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02"), IP(src=A4, dst=B4), IPv6(src=A6, dst=B6)
    for flags in FLAGS:
        yield ether / v4 / tcp(flags=flags)
        yield ether / v6 / tcp(flags=flags)
    options = tcp(
        flags="S", options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
    )
    for ip in (v4, v6, IP(src=A4, dst=B4, options=[IPOption_NOP()] * 4)):
        yield ether / ip / options
        yield ether / ip / tcp(flags="FPA") / Raw(b"hello world")
        yield ether / ip / UDP(sport=9, dport=53) / Raw(b"question")
    for headers in (
        IPv6ExtHdrHopByHop(),
        IPv6ExtHdrDestOpt(),
        IPv6ExtHdrRouting(addresses=[R6]),
        IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(),
        IPv6ExtHdrFragment(offset=0, m=1),
    ):
        yield ether / v6 / headers / tcp(flags="PA") / Raw(b"12345")
    for kind, code in [(3, code) for code in range(16)] + [(11, 0), (11, 1), (12, 0), (4, 0)]:
        yield ether / IP(src=R4, dst=A4) / ICMP(type=kind, code=code) / v4 / tcp(flags="S")
    yield ether / IP(src=R4, dst=A4) / ICMP(type=3, code=3) / v4 / UDP(sport=9, dport=53)
    for error in (
        *(ICMPv6DestUnreach(code=code) for code in range(7)),
        ICMPv6TimeExceeded(),
        ICMPv6PacketTooBig(mtu=1280),
    ):
        yield ether / IPv6(src=R6, dst=A6) / error / v6 / tcp(flags="S")
    yield ether / v4 / ICMP()
    yield ether / v6 / ICMPv6EchoRequest()
    yield ether / ARP(op=1, psrc=A4, pdst=R4)
    yield ether / ARP(op=2, psrc=R4, pdst=A4)
    yield ether / v6 / ICMPv6ND_NS(tgt=R6)
    yield ether / v6 / ICMPv6ND_NA(tgt=R6)


@cache
def frames() -> Sequence[Frame]:
    """The packets as a capture has them, short ones padded to Ethernet's minimum, a nanosecond and a bit apart."""
    found = []
    for number, packet in enumerate(packets()):
        data = bytes(packet).ljust(60, b"\0")
        found.append(Frame(T0 + number * 1_000_000_001, number % 2 == 0, data, len(data)))
    return tuple(found)


def lies() -> Iterator[bytes]:
    """Frames whose headers say something else than what is there."""
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    good = bytes(ether / IP(src=A4, dst=B4) / tcp(flags="S") / Raw(b"12345"))
    for at, value in ((14, 0x40), (14, 0x4F), (14, 0x60), (16, 0), (16, 255), (17, 1), (20, 0x1F), (46, 0), (46, 0xF0)):
        yield good[:at] + bytes([value]) + good[at + 1 :]
    six = bytes(ether / IPv6(src=A6, dst=B6) / IPv6ExtHdrHopByHop() / tcp(flags="S"))
    yield six[:55] + b"\xff" + six[56:]
    yield six[:18] + struct.pack("!H", 4) + six[20:]
    yield six[:54] + b"\x00" + six[55:]
