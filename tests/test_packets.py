"""The decoder against packets that scapy built and tshark read: what all three agree on is what is there."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from chaos import pcapng
from chaos.packets import FLAGS, Frame, Packet, Quoted, decode
from tests import samples

TSHARK = shutil.which("tshark")
needs_tshark = pytest.mark.skipif(TSHARK is None, reason="tshark: not found; install it with: apt-get install tshark")

FIELDS = [
    "frame.time_epoch",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.flags",
    "tcp.len",
    "udp.srcport",
    "udp.length",
    "icmp.type",
    "icmp.code",
    "icmpv6.type",
    "icmpv6.code",
    "arp.opcode",
    "frame.packet_flags_direction",
]


@pytest.fixture(scope="module")
def frames() -> Sequence[Frame]:
    return samples.frames()


@pytest.fixture(scope="module")
def read(frames: list[Frame], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[str]]]:
    """What tshark says of every frame of our pcapng: field -> values, those of an ICMP error's quotation last."""
    path = tmp_path_factory.mktemp("capture") / "packets.pcapng"
    pcapng.write(path, {"client": frames})
    return tshark(path)


def tshark(path: Path) -> list[dict[str, list[str]]]:
    argv = [
        str(TSHARK),
        "-n",
        "-r",
        str(path),
        "-o",
        "ip.defragment:FALSE",
        "-o",
        "ipv6.defragment:FALSE",
        "-T",
        "fields",
    ]
    argv += ["-E", "separator=/t", *(part for field in FIELDS for part in ("-e", field))]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    return [
        dict(zip(FIELDS, (cell.split(",") if cell else [] for cell in line.split("\t")), strict=True)) for line in lines
    ]


def packet_of(frame: Frame, index: int = 0) -> Packet:
    packet = decode(frame, index)
    assert packet is not None
    return packet


def flags_of(text: str) -> frozenset[str]:
    return frozenset(name for bit, name in enumerate(FLAGS) if int(text, 16) >> bit & 1)


@needs_tshark
def test_agrees_with_tshark_on_every_segment(frames: list[Frame], read: list[dict[str, list[str]]]) -> None:
    assert len(read) == len(frames)
    compared = lengths = 0
    for frame, row in zip(frames, read, strict=True):
        packet = packet_of(frame)
        seconds, _, nanoseconds = row["frame.time_epoch"][0].partition(".")
        assert int(seconds + nanoseconds) == packet.time_ns
        assert int(row["frame.packet_flags_direction"][0], 16) == (2 if frame.outgoing else 1)
        if packet.protocol != "tcp":
            continue
        compared += 1
        assert [packet.src, packet.dst] == (row["ip.src"] + row["ip.dst"] or [row["ipv6.src"][0], row["ipv6.dst"][0]])
        assert [packet.sport, packet.dport] == [int(row["tcp.srcport"][0]), int(row["tcp.dstport"][0])]
        assert [packet.seq, packet.ack] == [int(row["tcp.seq_raw"][0]), int(row["tcp.ack_raw"][0])]
        assert packet.flags == flags_of(row["tcp.flags"][0])
        if row["tcp.len"]:  # not of a datagram's first fragment, whose length it leaves open
            assert [packet.length, len(packet.payload)] == [int(row["tcp.len"][0])] * 2
            lengths += 1
    assert (compared, lengths) == (35, 34)


@needs_tshark
def test_agrees_with_tshark_on_icmp_and_what_it_quotes(frames: list[Frame], read: list[dict[str, list[str]]]) -> None:
    quoting = 0
    for frame, row in zip(frames, read, strict=True):
        packet = packet_of(frame)
        family = "icmp" if row["icmp.type"] else "icmpv6" if row["icmpv6.type"] else ""
        assert (packet.icmp is not None) == bool(family)
        if not family:
            continue
        assert packet.icmp == (int(row[f"{family}.type"][0]), int(row[f"{family}.code"][0]))
        addresses = row["ip.src"] if family == "icmp" else row["ipv6.src"]
        if packet.quoted and packet.quoted.seq is not None:
            quoting += 1
            assert packet.quoted[:2] == (addresses[-1], int(row["tcp.srcport"][0]))
            assert packet.quoted.seq == int(row["tcp.seq"][0])  # where there is no stream, it is the raw one
    assert quoting > 25


@needs_tshark
def test_agrees_with_tshark_on_what_else_there_is(frames: list[Frame], read: list[dict[str, list[str]]]) -> None:
    kinds = {"udp": 0, "arp": 0}
    for frame, row in zip(frames, read, strict=True):
        packet = packet_of(frame)
        if packet.protocol == "udp":
            kinds["udp"] += 1
            assert packet.sport == int(row["udp.srcport"][0])
            assert packet.length == int(row["udp.length"][0]) - 8
        if packet.protocol == "arp":
            kinds["arp"] += 1
            assert packet.operation == {"1": "request", "2": "reply"}[row["arp.opcode"][0]]
    assert kinds == {"udp": 3, "arp": 2}


def test_neighbour_discovery_and_arp_name_who_is_asked_for(frames: list[Frame]) -> None:
    found = [packet_of(frame) for frame in frames[-4:]]
    assert [(one.protocol, one.operation, one.target) for one in found] == [
        ("arp", "request", samples.R4),
        ("arp", "reply", samples.R4),
        ("nd", "request", samples.R6),
        ("nd", "reply", samples.R6),
    ]


def test_an_icmp_error_quotes_the_syn(frames: list[Frame]) -> None:
    quoted = {packet_of(frame).quoted for frame in frames}
    assert Quoted(samples.A4, 40001, samples.B4, 8080, samples.TOP) in quoted
    assert Quoted(samples.A6, 40001, samples.B6, 8080, samples.TOP) in quoted
    assert Quoted(samples.A4, 9, samples.B4, 53, None) in quoted


def test_the_index_of_the_frame_is_kept(frames: list[Frame]) -> None:
    assert packet_of(frames[0], 17).frame == 17


def test_a_later_fragment_has_no_ports() -> None:
    data = bytearray(samples.frames()[0].data)
    data[20:22] = b"\x00\x03"
    assert packet_of(Frame(0, True, bytes(data), len(data))).protocol == "other"


def test_no_frame_raises_however_short(frames: list[Frame]) -> None:
    for frame in frames:
        whole = packet_of(frame)
        for size in range(len(frame.data)):
            cut = decode(Frame(frame.time_ns, frame.outgoing, frame.data[:size], frame.length))
            assert cut is None or (cut.src, cut.dst) == (whole.src, whole.dst)
            if cut is not None and cut.protocol == "tcp":
                assert (cut.seq, cut.ack, cut.flags, cut.length) == (whole.seq, whole.ack, whole.flags, whole.length)


def test_no_frame_raises_whatever_its_headers_say(frames: list[Frame]) -> None:
    for data in samples.lies():
        packet = decode(Frame(0, True, data, len(data)))
        assert packet is None or packet.length >= 0
    dice = random.Random(1)
    for _ in range(3000):
        noisy = bytearray(dice.choice(frames).data)
        for _ in range(dice.randint(1, 4)):
            noisy[dice.randrange(len(noisy))] = dice.randrange(256)
        packet = decode(Frame(0, True, bytes(noisy), len(noisy)))
        assert packet is None or packet.length >= 0


@pytest.mark.parametrize("data", [b"", b"\0" * 14, b"\0" * 12 + b"\x88\xcc" + b"\0" * 46, b"\0" * 12 + b"\x08\x00"])
def test_what_is_not_ip_is_left_out(data: bytes) -> None:
    assert decode(Frame(0, True, data, len(data))) is None
