"""The wire language: what it reads, what it matches, and what it says when it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos import wire
from chaos.pattern import Pattern
from tests.talk import talk

HANDSHAKE = talk("> syn", "< syn-ack", "> ack")
NUMBERED = ["> syn seq=j", "< syn-ack seq=k ack=j+1", "> ack seq=j+1 ack=k+1"]


def patterns(*lines: str) -> list[Pattern]:
    return [wire.parse(line) for line in lines]


@pytest.mark.parametrize(
    "lines",
    [
        ["> syn", "< syn-ack", "> ack"],
        NUMBERED,
        ["..."],
        ["...", "> ack"],
        ["> syn", "..."],
        ["...", "> syn", "...", "< syn-ack", "...", "> ack", "..."],
        ["> any", "< any", "> any"],
        ["> syn x1..3", "< syn-ack x0..1", "< syn-ack x0..1", "> ack x1.."],
        ["> syn ack=0 len=0", "< syn-ack", "> ack len=0"],
        ["> syn seq=1000", "..."],
        ["> syn seq=j-5", "< syn-ack ack=j-4", "..."],
    ],
)
def test_matches(lines: list[str]) -> None:
    assert wire.match(patterns(*lines), HANDSHAKE) == []


@pytest.mark.parametrize(
    ("lines", "mismatch"),
    [
        ([], 'expected the end, got "> syn" as packet 1'),
        (["> syn"], 'expected the end, got "< syn-ack" as packet 2'),
        (["> syn x2"], 'expected "> syn x2" (1 so far), got "< syn-ack" as packet 2'),
        (["> syn x1..2", "< rst"], 'expected "> syn x1..2" (1 so far) or "< rst", got "< syn-ack" as packet 2'),
        (["< syn", "..."], 'expected "< syn", got "> syn" as packet 1'),
        ([*NUMBERED, "> data"], 'expected "> data", got the end after 3 packets'),
        (["> syn", "...", "< rst"], 'expected "< rst", got the end after 3 packets'),
        (
            ["> syn seq=j", "< syn-ack ack=j", "..."],
            'expected "< syn-ack ack=j" (j=1000), got "< syn-ack seq=7000 ack=1001" as packet 2',
        ),
    ],
)
def test_says_where_it_does_not_match(lines: list[str], mismatch: str) -> None:
    assert wire.match(patterns(*lines), HANDSHAKE) == [mismatch]


def test_numbers_wrap() -> None:
    assert wire.match(patterns(*NUMBERED), talk("> syn", "< syn-ack", "> ack", j=2**32 - 1, k=2**32 - 1)) == []
    assert wire.match(patterns("> syn seq=j+1", "< syn-ack ack=j+2", "..."), talk("> syn", "< syn-ack", j=0)) == []


@pytest.mark.parametrize(("place", "field"), [(0, "seq"), (1, "seq"), (1, "ack"), (2, "seq"), (2, "ack")])
@pytest.mark.parametrize("off", [1, -1])
def test_a_number_off_by_one_is_found(place: int, field: str, off: int) -> None:
    packets = list(HANDSHAKE)
    packets[place] = replace(packets[place], **{field: (getattr(packets[place], field) + off) % 2**32})
    assert wire.match(patterns(*NUMBERED), packets)


@pytest.mark.parametrize("place", range(3))
def test_a_missing_segment_is_found(place: int) -> None:
    assert wire.match(patterns(*NUMBERED), HANDSHAKE[:place] + HANDSHAKE[place + 1 :])


@pytest.mark.parametrize(
    ("line", "agrees"),
    [
        ("< icmp:3/1", True),
        ("< icmp:3", True),
        ("< icmp", True),
        ("< icmp:3/1 seq=j", True),
        ("< icmp:3/11", False),
        ("< icmp:11", False),
        ("> icmp:3/1", False),
        ("< icmp:3/1 seq=1", False),
    ],
)
def test_icmp_by_type_and_code(line: str, agrees: bool) -> None:
    found = wire.match(patterns("> syn seq=j", line), talk("> syn", "< icmp:3/1"))
    assert (found == []) == agrees


def test_a_fin_with_payload_is_data_too() -> None:
    packets = talk("> syn", "< syn-ack", "> ack", "> fin +5")
    for last in ("> fin", "> data", "> fin len=5"):
        assert wire.match(patterns("> syn", "< syn-ack", "> ack", last), packets) == []


def test_a_host_that_answers_itself_is_the_target() -> None:
    packets = talk("> syn", "< rst")
    own = [packets[0], replace(packets[1], src=packets[1].dst)]
    assert wire.match(patterns("> syn", "< rst"), own) == []


@pytest.mark.slow("a megabyte's worth of segments: the time must be linear in them")
def test_thousands_of_segments_are_matched_in_linear_time() -> None:
    packets = talk("> syn", "< syn-ack", "> ack", *["> data", "< ack"] * 5000)
    lines = ["...", "> any x1..", "...", "< any x1..", "...", "> data", "< ack"]
    assert wire.match(patterns(*lines), packets) == []
    assert wire.match(patterns(*lines, "< rst"), packets)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("> sin", "no segment is named 'sin' (did you mean 'syn'?)"),
        ("> synack", "(did you mean 'syn-ack'?)"),
        ("< icmp:3/256", "no segment is named 'icmp:3/256'"),
        ("syn", "expected '>', '<' or '...'"),
        ("", "expected '>', '<' or '...'"),
        ("... x2", "expected '>', '<' or '...'"),
        (">", "names no segment"),
        ("> syn x0", "'x0' can match nothing"),
        ("> syn x3..1", "'x3..1' can match nothing"),
        ("> syn 2", "expected a count (x2, x1..3) or seq=, ack=, len=, win=, got '2'"),
        ("> syn sec=j", "(did you mean 'seq'?)"),
        ("> syn seq=j+", "expected a number, a name or name+1 behind 'seq=', got 'j+'"),
        ("> syn seq=4294967296", "expected a number"),
        ("> syn seq=j seq=k", "says a field twice"),
        ("< icmp:3/1 ack=j", "an ICMP error has no 'ack'"),
    ],
)
def test_a_wrong_line_is_refused(line: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        wire.parse(line)
    assert problem in str(caught.value)


def test_what_is_rendered_can_be_read_again() -> None:
    packets = talk("> syn", "> syn @1000", "< syn-ack", "> ack", "> data", "> data", "< ack", "< fin", "> rst")
    lines = wire.render(packets)
    assert lines == ["> syn x2", "< syn-ack", "> ack", "> data x2", "< ack", "< fin", "> rst"]
    assert wire.match(patterns(*lines), packets) == []
    assert wire.render(()) == []


def test_the_table_counts_from_the_syns() -> None:
    packets = talk("> syn", "< syn-ack @200", "> ack", "> data", "< rst")
    assert wire.table(packets) == [
        "      0.000 ms  > syn      [SYN] seq=0 len=0",
        "    200.000 ms  < syn-ack  [SYN,ACK] seq=0 ack=1 len=0",
        "    201.000 ms  > ack      [ACK] seq=1 ack=1 len=0",
        "    202.000 ms  > data     [PSH,ACK] seq=1 ack=1 len=5",
        "    203.000 ms  < rst      [RST] seq=1 len=0",
    ]


def test_the_table_says_what_an_icmp_error_does() -> None:
    assert (
        wire.table(talk("> syn", "< icmp:3/1"))[1]
        == "      1.000 ms  < icmp:3/1 from 198.18.1.1 (EHOSTUNREACH), quoting seq=0"
    )


def test_a_long_table_loses_its_middle() -> None:
    rows = wire.table(talk("> syn", "< syn-ack", "> ack", *["> data"] * 100), limit=9)
    assert len(rows) == 9
    assert rows[4] == "        ... 95 more"


def test_several_connections_show_their_ports() -> None:
    rows = wire.table(talk("> syn", "< rst") + talk("> syn", "< rst", sport=40002))
    assert ":40001 " in rows[0]
    assert ":40002 " in rows[2]
