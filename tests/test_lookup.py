"""DNS messages in a capture: what is read in them, the language for them, and what getaddrinfo() makes of them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import dnslib
import pytest

from chaos import lookup
from chaos.evidence import settle
from chaos.lookup import Message
from chaos.model import Outcome
from chaos.packets import Packet
from tests.talk import CLIENT, T0, talk

RESOLVER = "198.18.3.2"
SERVER = "198.18.2.2"
MS = 1_000_000


def question(kind: str = "A", number: int = 7) -> dnslib.DNSRecord:
    record = dnslib.DNSRecord.question("server", kind)
    record.header.id = number
    return record


def answer(address: str = SERVER, *, rcode: int = 0, tc: int = 0) -> dnslib.DNSRecord:
    record = question().reply()
    record.header.rcode, record.header.tc = rcode, tc
    if address:
        record.add_answer(dnslib.RR("server", dnslib.QTYPE.A, rdata=dnslib.A(address)))
    return record


def datagram(record: dnslib.DNSRecord, way: str, ms: int = 0) -> Packet:
    src, dst, sport, dport = (CLIENT, RESOLVER, 5000, 53) if way == ">" else (RESOLVER, CLIENT, 53, 5000)
    payload = record.pack()
    return Packet(T0 + ms * MS, way == ">", src, dst, "udp", sport, dport, length=len(payload), payload=payload)


def segments(data: bytes, *cuts: int) -> list[Packet]:
    """A stream from the client, cut into segments at these places; its numbers wrap."""
    edges = [0, *cuts, len(data)]
    first = Packet(T0, True, CLIENT, RESOLVER, "tcp", 5001, 53)
    return [
        replace(first, seq=(2**32 - 3 + start) % 2**32, length=end - start, payload=data[start:end])
        for start, end in itertools.pairwise(edges)
    ]


def told(*packets: Packet) -> list[str]:
    return lookup.render(lookup.messages(packets, RESOLVER))


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (answer(), "< A server ok"),
        (answer(""), "< A server nodata"),
        (answer("", rcode=3), "< A server nxdomain"),
        (answer("", rcode=2), "< A server servfail"),
        (answer("", rcode=5), "< A server refused"),
        (answer("", rcode=4), "< A server rcode:4"),
        (answer("", tc=1), "< A server truncated"),
    ],
)
def test_an_answer_has_its_name(record: dnslib.DNSRecord, says: str) -> None:
    assert told(datagram(question(), ">"), datagram(record, "<")) == ["> A server", says]


def test_an_answer_has_its_addresses() -> None:
    assert lookup.messages([datagram(answer(), "<")], RESOLVER)[0].addresses == (SERVER,)


def test_what_is_no_message_or_not_for_the_resolver_is_left_out() -> None:
    garbage = replace(datagram(question(), ">"), payload=b"\0\1")
    assert told(garbage, replace(datagram(question(), ">"), dst=SERVER), *talk("> syn")) == []


@pytest.mark.parametrize("cuts", [(), (1,), (2, 9), (40,)])
def test_a_stream_is_read_whatever_its_segments(cuts: tuple[int, ...]) -> None:
    data = b"".join(len(part).to_bytes(2, "big") + part for part in (question().pack(), question("AAAA").pack()))
    assert told(*segments(data, *cuts)) == ["> A server tcp", "> AAAA server tcp"]


def test_a_segment_that_was_sent_twice_is_read_once() -> None:
    part = question().pack()
    [first, second] = segments(len(part).to_bytes(2, "big") + part, 12)
    assert told(first, first, second, second) == ["> A server tcp"]


def messages(*lines: str) -> list[Message]:
    """Written down: `> A server`, a millisecond each."""
    found = []
    for number, line in enumerate(lines):
        way, kind, name, *rest = line.split()
        tcp = rest[-1:] == ["tcp"]
        said = "".join(rest[:-1] if tcp else rest)
        assert way in (">", "<")
        found.append(Message(T0 + number * MS, ">" if way == ">" else "<", 7, name, kind, tcp, said))
    return found


ASKED_TWICE = messages("> A server", "> A server", "< A server ok")


@pytest.mark.parametrize(
    "lines",
    [
        ["> server x2", "< server ok"],
        ["> A server x1..3", "< A server"],
        ["> any x2", "< any"],
        ["...", "< server ok"],
        ["> server x2..", "..."],
    ],
)
def test_lines_that_match(lines: list[str]) -> None:
    assert lookup.match([lookup.parse(line) for line in lines], ASKED_TWICE) == []


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["> server", "< server ok"], 'expected "< server ok", got "> A server" as packet 2'),
        (["> server x2", "< server nxdomain"], 'expected "< server nxdomain", got "< A server ok" as packet 3'),
        (["> AAAA server", "..."], 'expected "> AAAA server", got "> A server" as packet 1'),
        (["> server tcp"], 'expected "> server tcp", got "> A server" as packet 1'),
        (["> client"], 'expected "> client", got "> A server" as packet 1'),
        (["> server x2"], 'expected the end, got "< A server ok" as packet 3'),
        (["> server x2", "< server", "> any"], 'expected "> any", got the end after 3 packets'),
    ],
)
def test_lines_that_do_not(lines: list[str], says: str) -> None:
    assert lookup.match([lookup.parse(line) for line in lines], ASKED_TWICE) == [says]


def test_questions_of_two_types_are_told_apart_and_not_put_in_order() -> None:
    lines = [lookup.parse(it) for it in ("> A server", "< A server ok", "> AAAA server", "< AAAA server nodata")]
    aside = messages("> A server", "> AAAA server", "< AAAA server nodata", "< A server ok")
    assert lookup.match(lines, aside) == []
    assert lookup.match(lines, aside[:3]) == ['expected "< A server ok", got the end after 1 packet']
    assert lookup.match(lines[:2], aside[:2]) == [
        'expected "< A server ok", got the end after 1 packet',
        'expected the end, got "> AAAA server" as packet 1',
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("server", "expected '> NAME'"),
        (">", "expected '> NAME'"),
        ("> x2", "does not say which name"),
        ("> A", "does not say which name"),
        ("> tcp", "does not say which name"),
        ("> server ok", "a question has no 'ok'"),
        ("< server nxdomian", "did you mean 'nxdomain'"),
        ("< server ok ok", "an answer is one of"),
        ("> server x0", "can match nothing"),
    ],
)
def test_lines_that_are_none(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        lookup.parse(line)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([], None),
        (["> A server", "< A server ok"], None),
        (["> A server", "< A server nodata", "> AAAA server", "< AAAA server ok"], None),
        (["> A server", "< A server nxdomain"], "EAI_NONAME"),
        (["> A server", "< A server nodata"], "EAI_NODATA"),
        (["> A server", "< A server servfail"], "EAI_AGAIN"),
        (["> A server", "> A server"], "EAI_AGAIN"),
    ],
)
def test_what_getaddrinfo_says(lines: list[str], error: str | None) -> None:
    assert lookup.error(messages(*lines)) == error


def test_an_answer_without_its_question_is_a_contradiction() -> None:
    assert list(lookup.contradictions(messages("> A server", "< A server ok"))) == []
    [problem] = lookup.contradictions(messages("> AAAA server", "< A server ok"))
    assert "no question before it" in problem


def test_a_question_that_was_asked_again_counts_from_the_first_time() -> None:
    assert lookup.delays(ASKED_TWICE) == [0.002]
    assert lookup.delays(messages("< A server ok")) == []


def outcome(error: str | None, exit_status: int | None = 6) -> Outcome:
    return Outcome(error, None, T0 - 50 * MS, T0 + 10 * MS, exit=exit_status)


def test_the_messages_tell_what_a_program_does_not_say() -> None:
    found = settle(outcome(None), (), None, messages("> A server", "< A server nxdomain"))
    assert (found.error, found.error_from, found.phase) == ("EAI_NONAME", "wire", "resolve")
    assert found.elapsed == pytest.approx(0.010)


def test_a_client_that_gave_up_before_it_had_an_address_was_resolving() -> None:
    assert settle(outcome("timeout"), (), None, messages("> A server")).phase == "resolve"
    assert settle(outcome("timeout"), talk("> syn"), None, messages("> A server", "< A server ok")).phase == "connect"
