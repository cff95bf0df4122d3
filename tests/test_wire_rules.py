"""The rules of the wire on frames: which they take, how they count, and what comes out when."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.agent.rules import Passed, Rules
from chaos.agent.segment import parse
from tests.samples import A4, A6, B4, B6
from tests.test_packet_work import framed

SYN, SYN_ACK, ACK, FIN, RST = "S", "SA", "A", "FA", "R"
NOW = 100.0


def back(version: int = 4, payload: bytes = b"", **tcp: Any) -> bytes:
    """A segment from the port that is dialled: the frame's ends exchanged."""
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

    ip = IP(src=B4, dst=A4) if version == 4 else IPv6(src=B6, dst=A6)
    return bytes(Ether() / ip / TCP(**{"sport": 8080, "dport": 40001, "flags": "PA", **tcp}) / Raw(payload))


def rules(action: dict[str, Any] | None = None, number: int = 1, **match: Any) -> Rules:
    """One rule in force; what is not said matches any segment of the port."""
    found = Rules()
    arm(found, action, number, **match)
    return found


def arm(found: Rules, action: dict[str, Any] | None = None, number: int = 1, **match: Any) -> None:
    said = {"version": 4, "segments": ["any"], "port": 8080, "from": None, "to": None, "larger": None, "nth": [1, None]}
    found.arm({"number": number, "match": {**said, **match}, "action": action or {"do": "drop"}})


def out(found: Rules, *frames: bytes, now: float = NOW) -> list[bytes]:
    return [passed.frame for frame in frames for passed in found.passed(frame, now)]


@pytest.mark.parametrize(
    ("segments", "taken"),
    [
        (["syn"], [0]),
        (["syn-ack"], [1]),
        (["ack"], [2]),
        (["data"], [3, 6]),
        (["fin"], [4, 6]),
        (["rst"], [5]),
        (["syn", "rst"], [0, 5]),
        (["any"], [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_segments_by_kind(segments: list[str], taken: list[int]) -> None:
    frames = [
        framed(4, flags=SYN), back(flags=SYN_ACK), framed(4, flags=ACK), framed(4, b"x"), framed(4, flags=FIN),
        back(flags=RST), back(payload=b"x", flags=FIN),
    ]  # fmt: skip
    found = rules(segments=segments)
    left = out(found, *frames)
    assert [index for index, frame in enumerate(frames) if frame not in left] == taken
    assert found.count(1) == len(taken)


def test_a_syn_goes_to_the_port_and_a_syn_ack_comes_from_it() -> None:
    for segments, frame in ((["syn"], back(flags=SYN)), (["syn-ack"], framed(4, flags=SYN_ACK))):
        assert out(rules(segments=segments), frame) == [frame]


@pytest.mark.parametrize(("nth", "left"), [([1, 1], "bcde"), ([1, 2], "cde"), ([3, None], "ab"), ([2, 3], "ade")])
def test_the_k_th_is_counted_over_the_segments_that_match(nth: list[int | None], left: str) -> None:
    found = rules(segments=["data"], nth=nth)
    frames = [framed(4, letter.encode()) for letter in "abcde"]
    others = [framed(4, flags=ACK)] * 5  # which count for nothing
    kept = out(found, *(frame for pair in zip(frames, others, strict=True) for frame in pair))
    assert [frame for frame in kept if frame not in others] == [frames["abcde".index(letter)] for letter in left]
    assert found.count(1) == 5 - len(left)


@pytest.mark.parametrize(
    ("match", "forth", "back_"),
    [
        ({"from": A4}, True, False),
        ({"to": A4}, False, True),
        ({"from": A4, "to": B4}, True, False),
        ({"from": B4, "to": B4}, False, False),
        ({"port": 8081}, False, False),
        ({"version": 6}, False, False),
        ({"larger": 100}, False, True),
    ],
)
def test_direction_port_family_and_size(match: dict[str, Any], forth: bool, back_: bool) -> None:
    found = rules(**match)
    assert (out(found, framed(4)) == []) == forth
    assert (out(found, back(payload=b"x" * 61)) == []) == back_


def test_larger_means_the_whole_packet() -> None:
    for version, headers in ((4, 40), (6, 60)):
        found = rules(version=version, larger=500)
        assert out(found, framed(version, b"x" * (500 - headers)))
        assert not out(found, framed(version, b"x" * (501 - headers)))


def test_what_is_no_tcp_passes() -> None:
    assert out(rules(), b"\0" * 60) == [b"\0" * 60]


def test_rules_act_in_the_order_in_which_they_were_armed() -> None:
    found = rules({"do": "duplicate"}, 1)
    arm(found, {"do": "delay", "by": 2.0}, 2)
    arm(found, {"do": "drop"}, 3, nth=[2, 2])
    frame = framed(4)
    assert found.passed(frame, NOW) == [Passed(frame, 2.0, 2)]
    found.withdraw(2)
    assert found.passed(frame, NOW) == [Passed(frame), Passed(frame)]
    assert [found.count(1), found.count(3)] == [2, 1]


def test_the_next_overtakes_what_is_held_and_nobody_else_s_does() -> None:
    found = rules({"do": "reorder"}, segments=["data"], nth=[1, 1])
    first, second, other, answer = framed(4, b"1"), framed(4, b"2"), framed(4, b"3", sport=5), back(payload=b"4")
    assert out(found, first, other, answer) == [other, answer]
    assert out(found, second) == [second, first]
    assert out(found, first, second) == [first, second]


def test_without_a_number_pairs_are_swapped() -> None:
    found = rules({"do": "reorder"})
    frames = [framed(4, letter.encode()) for letter in "abcd"]
    assert out(found, *frames) == [frames[1], frames[0], frames[3], frames[2]]


def test_a_syn_is_held_until_the_other_end_s_comes_by() -> None:
    found = rules({"do": "meet"}, segments=["syn"])
    ours, theirs, other, refusal = framed(4, flags=SYN), back(flags=SYN), back(flags=SYN, dport=5), back(flags=RST)
    assert out(found, theirs) == [theirs], "it comes too early for ours"
    assert out(found, ours, other, refusal) == [other, refusal]
    assert out(found, theirs) == [ours, theirs]
    assert out(found, theirs) == [theirs], "once"
    assert found.count(1) == 1


def test_a_syn_that_has_met_one_further_on_goes_before_its_syn_ack() -> None:
    found = rules({"do": "meet"}, segments=["syn"])
    ours, answer = framed(4, flags=SYN), framed(4, flags=SYN_ACK)
    assert out(found, ours, ours, answer) == [ours, answer], "as a retransmission of its own does"


def test_a_narrow_link_is_free_when_the_last_byte_has_left() -> None:
    found = rules({"do": "bandwidth", "rate": 1000, "queue": 250})
    frame = framed(4, b"x" * 60)  # 100 bytes
    assert [passed.late for _ in range(3) for passed in found.passed(frame, NOW)] == pytest.approx([0.1, 0.2])
    assert [passed.late for passed in found.passed(back(payload=b"x" * 60), NOW)] == pytest.approx([0.1]), "each way"
    assert [passed.late for passed in found.passed(frame, NOW + 0.15)] == pytest.approx([0.15]), "room again"
    assert [passed.late for passed in found.passed(frame, NOW + 9)] == pytest.approx([0.1])


def test_an_icmp_error_replaces_the_segment_and_goes_to_its_sender() -> None:
    said = {"do": "icmp", "type": 3, "code": 1, "mtu": 0, "sources": {A4: "198.18.1.1"}}
    (error,) = out(rules(said, segments=["syn"]), framed(4, flags=SYN))
    assert error[26:34] == bytes([198, 18, 1, 1, 198, 18, 1, 2])
    assert parse(error) is None, "no rule takes an error for a segment"
