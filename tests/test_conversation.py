"""Which packets are the attempt's, and whether they can be the whole of it."""

from __future__ import annotations

from dataclasses import replace
from errno import EOPNOTSUPP, errorcode

import pytest

from chaos.conversation import contradictions, conversation, flows, names, opener, segment
from chaos.icmp import errno_name
from chaos.packets import Packet
from tests.talk import CLIENT, PORT, T0, TARGET, talk

FULL = talk("> syn", "< syn-ack", "> ack", "> data", "< ack", "< data", "> ack", "> fin", "< fin", "> ack")
MS = 1_000_000


def ours(*packets: Packet, start: int = T0, end: int = T0 + 10**12) -> tuple[Packet, ...]:
    return conversation(packets, frozenset({CLIENT}), frozenset({TARGET}), PORT, start, end)


def test_every_segment_has_its_name() -> None:
    assert [segment(packet) for packet in FULL[:5]] == ["syn", "syn-ack", "ack", "data", "ack"]
    assert segment(FULL[7]) == "fin"
    assert segment(replace(FULL[0], flags=frozenset({"RST", "ACK"}))) == "rst"
    assert segment(replace(FULL[0], flags=frozenset())) == "other"
    assert names(replace(FULL[7], length=3)) == {"fin", "data"}


def test_payload_is_data_without_psh() -> None:
    assert segment(replace(FULL[3], flags=frozenset({"ACK"}))) == "data"


def test_the_whole_connection_belongs_in_order_of_time() -> None:
    assert ours(*reversed(FULL)) == FULL


@pytest.mark.parametrize(
    ("start", "end", "count"),
    [(T0, T0 + 2 * MS, 3), (T0 + MS, T0 + 99 * MS, 0), (T0 - MS, T0, 1)],
)
def test_the_window_cuts_and_a_connection_begins_with_its_syn(start: int, end: int, count: int) -> None:
    assert len(ours(*FULL, start=start, end=end)) == count


def test_what_others_say_does_not_belong() -> None:
    elsewhere = [replace(packet, dport=9) if packet.dst == TARGET else replace(packet, sport=9) for packet in FULL]
    from_bystander = [replace(packet, src="198.18.3.2") for packet in FULL if packet.src == CLIENT]
    assert ours(*FULL, *elsewhere, *from_bystander) == FULL


def test_an_icmp_error_belongs_by_what_it_quotes() -> None:
    refused = talk("> syn", "< icmp:3/1")
    other = replace(refused[1], quoted=refused[1].quoted._replace(dport=9) if refused[1].quoted else None)
    assert ours(*refused, other) == refused


@pytest.mark.parametrize("answer", ["< icmp:3/3", "< rst"])
def test_an_answer_opens_what_no_capture_could_see(answer: str) -> None:
    """The client's own OUTPUT rejected the SYN: packet(7) never saw it."""
    assert len(ours(talk("> syn", answer)[1])) == 1


def test_an_rst_of_an_older_connection_opens_nothing() -> None:
    assert ours(talk("> syn", "< syn-ack", "> ack", "< rst")[3]) == ()


@pytest.mark.parametrize("place", range(3))
def test_the_opener_is_the_client_from_wherever_one_looks(place: int) -> None:
    assert opener(FULL[place:]) == {CLIENT}
    assert opener(talk("> syn", "< icmp:3/1")[1:]) == {CLIENT}
    assert opener(()) == frozenset()


def test_flows_are_told_apart_by_port() -> None:
    both = talk("> syn", "< rst") + talk("> syn", "< syn-ack", "> ack", sport=40002)
    found = flows(both)
    assert [flow.key.client_port for flow in found] == [40001, 40002]
    assert [flow.final_ack is not None for flow in found] == [False, True]


@pytest.mark.parametrize(
    "lines",
    [
        ["> syn", "> syn"],
        ["> syn", "< rst"],
        ["> syn", "< syn-ack", "> ack", "> data", "< rst"],
        ["> syn", "< syn-ack", "< syn-ack", "> ack"],
        ["> syn", "< syn-ack", "> data"],
        ["> syn", "< icmp:3/1"],
        ["> syn", "< syn-ack", "> rst"],
    ],
)
def test_what_tcps_say_has_no_contradiction(lines: list[str]) -> None:
    assert contradictions(talk(*lines)) == []
    assert contradictions(talk(*lines, j=2**32 - 1, k=2**32 - 1)) == []


@pytest.mark.parametrize(("place", "field"), [(0, "seq"), (1, "seq"), (1, "ack"), (2, "seq"), (2, "ack")])
@pytest.mark.parametrize("off", [1, -1])
def test_a_handshake_with_a_wrong_number_contradicts_itself(place: int, field: str, off: int) -> None:
    packets = list(FULL)
    packets[place] = replace(packets[place], **{field: getattr(packets[place], field) + off})
    assert contradictions(packets)


@pytest.mark.parametrize("place", [0, 1])
def test_a_handshake_with_a_hole_contradicts_itself(place: int) -> None:
    assert contradictions(FULL[:place] + FULL[place + 1 :])


ECHO = talk("> syn", "< syn-ack", "> ack", "> data", "< ack", "> data", "< data", "< data", "> ack", "> fin", "< ack")


@pytest.mark.parametrize("place", [3, 5, 6, 7, 9])
def test_bytes_that_are_acknowledged_and_never_captured_contradict_themselves(place: int) -> None:
    assert contradictions(ECHO) == []
    assert "were captured without a hole" in contradictions(ECHO[:place] + ECHO[place + 1 :])[0]


def test_a_retransmission_and_a_wrap_are_no_hole() -> None:
    assert contradictions((*ECHO[:4], *ECHO[3:])) == []
    wrapped = talk("> syn", "< syn-ack", "> ack", "> data", "< ack", "< data", "> ack", j=2**32 - 3, k=2**32 - 3)
    assert contradictions(wrapped) == []
    assert contradictions((*wrapped[:3], *wrapped[4:]))


@pytest.mark.parametrize(
    ("protocol", "kind", "code", "name"),
    [
        ("icmp", 3, 0, "ENETUNREACH"), ("icmp", 3, 1, "EHOSTUNREACH"), ("icmp", 3, 2, "ENOPROTOOPT"),
        ("icmp", 3, 3, "ECONNREFUSED"), ("icmp", 3, 4, None), ("icmp", 3, 5, errorcode[EOPNOTSUPP]),
        ("icmp", 3, 7, "EHOSTDOWN"),
        ("icmp", 3, 8, "ENONET"), ("icmp", 3, 13, "EHOSTUNREACH"), ("icmp", 3, 16, None), ("icmp", 4, 0, None),
        ("icmp", 5, 1, None), ("icmp", 11, 0, "EHOSTUNREACH"), ("icmp", 11, 1, None), ("icmp", 12, 0, "EPROTO"),
        ("icmp", 0, 0, None),
        ("icmpv6", 1, 0, "ENETUNREACH"), ("icmpv6", 1, 1, "EACCES"), ("icmpv6", 1, 3, "EHOSTUNREACH"),
        ("icmpv6", 1, 4, "ECONNREFUSED"), ("icmpv6", 1, 6, "EACCES"), ("icmpv6", 1, 7, "EPROTO"),
        ("icmpv6", 2, 0, None), ("icmpv6", 3, 0, "EHOSTUNREACH"), ("icmpv6", 4, 1, "EPROTO"),
        ("icmpv6", 128, 0, None), ("icmpv6", 137, 0, None),
    ],
)  # fmt: skip
def test_the_errno_of_an_icmp_error(protocol: str, kind: int, code: int, name: str | None) -> None:
    assert errno_name(protocol, kind, code) == name
