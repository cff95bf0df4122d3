"""What the wire makes of frames, read by scapy: segments and their names, ICMP errors, damage, checksums."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos import pcapng
from chaos.agent import damage, icmp
from chaos.agent.segment import IPV4, checksum, names, parse
from chaos.conversation import names as names_by_capture
from chaos.packets import Frame, decode
from tests.samples import A4, A6, B4, B6, R4, R6, frames

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of scapy's own imports
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, TCPerror
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6PacketTooBig,
        ICMPv6ParamProblem,
        ICMPv6TimeExceeded,
        IPerror6,
        IPv6,
    )
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

NEAR, FAR = "02:00:00:00:00:01", "02:00:00:00:00:02"
LARGE = 1400


def framed(version: int, payload: bytes = b"", **tcp: Any) -> bytes:
    """A frame with a TCP segment, all checksums right."""
    ip = IP(src=A4, dst=B4) if version == 4 else IPv6(src=A6, dst=B6)
    fields = {"sport": 40001, "dport": 8080, "seq": 7, "flags": "PA", **tcp}
    return bytes(Ether(src=NEAR, dst=FAR) / ip / TCP(**fields) / Raw(payload))


def segment_of(frame: bytes) -> Any:
    found = parse(frame)
    assert found is not None
    return found


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def read(frame: bytes) -> Any:
    """scapy's reading."""
    return Ether(frame)


def rebuilt(frame: bytes) -> bytes:
    """The same frame with every length and checksum computed by scapy."""
    packet = read(frame)
    for layer in (IP, IPv6, TCP, ICMP, ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, ICMPv6ParamProblem):
        if layer in packet:
            for field in ("chksum", "cksum", "len", "plen"):
                if field in packet[layer].fields:
                    packet[layer].delfieldval(field)
    return bytes(packet)


@pytest.mark.parametrize("number", range(len(frames())))
def test_a_frame_is_named_as_the_capture_names_it(number: int) -> None:
    frame = frames()[number]
    packet, found = decode(frame), parse(frame.data)
    if packet is None or packet.protocol != "tcp" or extended(frame):
        assert found is None
        return
    assert found is not None
    assert (found.sport, found.dport, found.length) == (packet.sport, packet.dport, packet.length)
    assert (found.src, found.dst) == (packed(packet.src), packed(packet.dst))
    assert names(found) - {"any"} == names_by_capture(packet) - {"other"}


def extended(frame: Frame) -> bool:
    """IPv6 with extension headers, which Linux never sends before TCP."""
    return frame.data[12:14] != IPV4 and frame.data[20] != 6


@pytest.mark.parametrize("length", range(0, 74, 3))
@pytest.mark.parametrize("version", [4, 6])
def test_a_frame_cut_short_is_no_segment_and_no_error(version: int, length: int) -> None:
    parse(framed(version, b"x" * 20)[:length])


def test_the_checksum_is_the_internet_s() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D  # RFC 1071, section 3
    assert checksum(b"\x01") == checksum(b"\x01\x00")


V4 = [(3, code) for code in range(16)] + [(4, 0), (11, 0), (11, 1), (12, 0)]
V6 = [(1, code) for code in range(9)] + [(2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)]


def errors() -> Iterator[tuple[int, int, int]]:
    yield from ((4, *numbers) for numbers in V4)
    yield from ((6, *numbers) for numbers in V6)


@pytest.mark.parametrize(("version", "kind", "code"), list(errors()))
def test_an_icmp_error_is_what_scapy_would_have_made(version: int, kind: int, code: int) -> None:
    frame, source = framed(version, b"x" * 20), R4 if version == 4 else R6
    error = icmp.error(frame, segment_of(frame), packed(source), kind, code, mtu=1300)
    packet = read(error)
    assert rebuilt(error) == error, "lengths and checksums are right"
    assert (packet.src, packet.dst) == (FAR, NEAR)
    ip, quoted = (packet[IP], packet[IPerror]) if version == 4 else (packet[IPv6], packet[IPerror6])
    assert (ip.src, ip.dst) == (source, A4 if version == 4 else A6)
    assert (ip.payload.type, ip.payload.code) == (kind, code)
    assert (quoted.dst, packet[TCPerror].dport, packet[TCPerror].seq) == (B4 if version == 4 else B6, 8080, 7)
    assert bytes(quoted) == frame[14:], "all of a small packet is quoted"


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark: not found; install it with: apt-get install tshark")
@pytest.mark.slow("tshark takes its time to start")
def test_tshark_finds_nothing_wrong_with_any_error(tmp_path: Path) -> None:
    made = []
    for version, kind, code in errors():
        frame = framed(version, b"x" * LARGE)
        made.append(icmp.error(frame, segment_of(frame), packed(R4 if version == 4 else R6), kind, code))
    path = tmp_path / "errors.pcapng"
    pcapng.write(path, {"client": [Frame(number, False, frame, len(frame)) for number, frame in enumerate(made)]})
    fields = ["icmp.type", "icmp.code", "icmp.checksum.status", "icmpv6.type", "icmpv6.code", "icmpv6.checksum.status"]
    argv = [
        "tshark",
        "-n",
        "-r",
        str(path),
        "-o",
        "ip.check_checksum:TRUE",
        "-T",
        "fields",
        "-E",
        "separator=,",
        "-E",
        "occurrence=f",
    ]
    argv += [word for field in [*fields, "ip.checksum.status", "_ws.malformed"] for word in ("-e", field)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    good = "1"
    four = [f"{kind},{code},{good},,,,{good}," for kind, code in V4]
    six = [f",,,{kind},{code},{good},," for kind, code in V6]
    assert done.stdout.splitlines() == four + six


@pytest.mark.parametrize(("version", "kind", "field"), [(4, 3, "nexthopmtu"), (6, 2, "mtu")])
def test_the_mtu_of_the_next_hop_is_where_it_belongs(version: int, kind: int, field: str) -> None:
    frame = framed(version)
    error = icmp.error(
        frame, segment_of(frame), packed(R4 if version == 4 else R6), kind, 4 if version == 4 else 0, 1300
    )
    layer = ICMP if version == 4 else ICMPv6PacketTooBig
    assert getattr(read(error)[layer], field) == 1300


@pytest.mark.parametrize(("version", "longest"), [(4, 576), (6, 1280)])
def test_a_large_packet_is_quoted_as_far_as_the_error_may_be_long(version: int, longest: int) -> None:
    frame = framed(version, b"x" * LARGE)
    error = icmp.error(frame, segment_of(frame), packed(R4 if version == 4 else R6), 3, 1)
    assert len(error) == 14 + longest
    assert rebuilt(error) == error
    assert error.endswith(frame[14 : 14 + longest - (28 if version == 4 else 48)])


def valid(frame: bytes) -> bool:
    """Whether the TCP checksum is right, by scapy."""
    return bool(read(rebuilt(frame))[TCP].chksum == read(frame)[TCP].chksum)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("payload", [b"", b"hello world"], ids=["bare", "data"])
@pytest.mark.parametrize("seed", range(12))
def test_what_is_damaged_is_one_bit_or_the_checksum(version: int, payload: bytes, seed: int) -> None:
    frame = framed(version, payload)
    assert valid(frame)
    flipped = damage.flipped(frame, segment_of(frame), random.Random(seed))
    wrong = damage.miscounted(frame, segment_of(frame), random.Random(seed))
    assert not valid(flipped)
    assert not valid(wrong)
    assert sum((one ^ other).bit_count() for one, other in zip(frame, flipped, strict=True)) == 1
    at = segment_of(frame).transport + 16
    assert wrong[:at] + wrong[at + 2 :] == frame[:at] + frame[at + 2 :]
    assert segment_of(flipped) == segment_of(wrong) == segment_of(frame), "a capture still knows it"


def test_the_seed_decides() -> None:
    frame = framed(4, b"x" * 100)
    made = [damage.flipped(frame, segment_of(frame), random.Random(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kept", [20, 30, 40, 2000])
def test_what_is_cut_says_how_long_it_is(version: int, kept: int) -> None:
    frame = framed(version, b"x" * 100)
    short = damage.cut(frame, segment_of(frame), kept)
    packet = read(short)
    size = min(kept, 120)
    assert len(short) == segment_of(frame).transport + size
    assert (packet[IP].len if version == 4 else packet[IPv6].plen) == size + (20 if version == 4 else 0)
    if version == 4:
        assert packet[IP].chksum == read(rebuilt(short))[IP].chksum
    assert packet[TCP].chksum == read(frame)[TCP].chksum, "TCP's checksum does not know"
    assert valid(short) == (size == 120)


def test_other_protocols_are_no_segments() -> None:
    assert parse(bytes(Ether() / IP(src=A4, dst=B4) / UDP())) is None
    assert parse(bytes(Ether() / IP(src=A4, dst=B4, frag=5, proto=6) / Raw(b"x" * 40))) is None
