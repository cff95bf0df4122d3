"""Several addresses: the timeline of the attempts, and which of them the client's error is of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos import attempts
from chaos.conversation import conversation, direction, flows, opener
from chaos.evidence import Evidence, deciding, settle
from chaos.model import Outcome
from chaos.packets import Packet
from chaos.ranges import parse_window
from chaos.scenario import Expect
from chaos.scenario.language import Try
from tests.talk import CLIENT, PORT, T0, TARGET, talk

CLIENT6, TARGET6 = "2001:db8:0:1::2", "2001:db8:0:2::2"
MS = 1_000_000
SIX = {CLIENT: CLIENT6, TARGET: TARGET6}


def six(*lines: str, sport: int = 40001) -> tuple[Packet, ...]:
    """The same conversation over IPv6."""
    return tuple(replace(it, src=SIX.get(it.src, it.src), dst=SIX[it.dst]) for it in talk(*lines, sport=sport))


def merged(*conversations: tuple[Packet, ...]) -> tuple[Packet, ...]:
    return tuple(sorted((packet for each in conversations for packet in each), key=lambda packet: packet.time_ns))


HAPPY = merged(
    six("> syn @0", "> syn @1000"),
    talk("> syn @250", "< syn-ack @252", "> ack @253", "> data @254", "< ack @256", sport=40002),
)
RACE = merged(
    six("> syn @0", "< syn-ack @400", "> ack @401"),
    talk("> syn @250", "< syn-ack @650", "> rst @651", sport=40002),
)
AGAIN = merged(talk("> syn @0", "< syn-ack @1", "> ack @2", "< rst @3"), talk("> syn @10", "< rst @11", sport=40002))


def test_the_client_has_an_address_of_each_family() -> None:
    assert opener(HAPPY) == {CLIENT, CLIENT6}
    assert [direction(packet, opener(HAPPY)) for packet in HAPPY[:3]] == [">", ">", "<"]


def test_a_conversation_has_every_address_to_which_the_name_leads() -> None:
    ours = frozenset({CLIENT, CLIENT6})
    assert conversation(HAPPY, ours, frozenset({TARGET, TARGET6}), PORT, T0, T0 + 10**12) == HAPPY
    four = conversation(HAPPY, ours, frozenset({TARGET}), PORT, T0, T0 + 10**12)
    assert {packet.dst for packet in four} == {TARGET, CLIENT}


def test_the_timeline() -> None:
    assert [str(one) for one in attempts.attempts(HAPPY)] == [
        f"0.0 ms: ipv6 {TARGET6}, no answer",
        f"250.0 ms: ipv4 {TARGET}, syn-ack",
    ]
    assert [one.answer for one in attempts.attempts(talk("> syn", "< rst"))] == ["rst"]
    assert [one.answer for one in attempts.attempts(talk("> syn", "< icmp:3/1"))] == ["icmp"]
    assert attempts.attempts(()) == ()


def findings(packets: tuple[Packet, ...], *wanted: Try) -> list[str]:
    evidence = Evidence(Outcome("ok", None, T0, T0 + 10**9), "client", {"client": packets})
    return [finding.text for finding in attempts.findings(Expect(attempts=wanted), evidence)]


def test_a_timeline_that_is_as_expected() -> None:
    second = Try(family="ipv4", at=parse_window("249ms..320ms"), answer="syn-ack")
    assert findings(HAPPY, Try(family="ipv6", answer="none"), second) == []
    assert findings(HAPPY) == []


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (Try(family="ipv6"), "attempts.1.family: expected ipv6, got 250.0 ms: ipv4"),
        (Try(answer="rst"), "attempts.1.answer: expected rst, got 250.0 ms: ipv4"),
        (Try(at=parse_window("..200ms")), "attempts.1.at: expected ..200ms, got 250.0 ms: ipv4"),
    ],
)
def test_a_timeline_that_is_not(second: Try, says: str) -> None:
    [found] = findings(HAPPY, Try(), second)
    assert found.startswith(says)


@pytest.mark.parametrize("count", [1, 3])
def test_an_attempt_too_few_or_too_many(count: int) -> None:
    [found] = findings(HAPPY, *[Try()] * count)
    assert found.startswith(f"attempts: expected {count} of them, got 2 (0.0 ms")


def test_of_a_race_the_winner_counts_and_of_tries_in_a_row_the_last() -> None:
    assert deciding(flows(RACE)).key.target == TARGET6
    assert deciding(flows(HAPPY)).key.target == TARGET
    assert deciding(flows(AGAIN)).key.client_port == 40002


def test_who_won_a_race_was_connected() -> None:
    given_up = replace(Outcome(None, None, T0, T0 + 700 * MS, exit=1))
    assert settle(given_up, RACE).phase == "receive"
    assert settle(given_up, AGAIN).error == "ECONNREFUSED"
