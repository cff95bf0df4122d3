"""What the packets add to what a client says: its error, its phase, its time, and never more than they show."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.evidence import settle
from chaos.model import Outcome
from chaos.schedule import Schedule
from tests.talk import T0, talk

MS = 1_000_000
SCHEDULE = Schedule((0, 1), 3)


def outcome(error: str | None = None, returned_ms: float = 3030, **fields: Any) -> Outcome:
    """A client that began 7 ms before its first segment."""
    given = {"phase": None, "started_ns": T0 - 7 * MS, "returned_ns": T0 + round(returned_ms * MS), **fields}
    return Outcome(error=error, **given)


@pytest.mark.parametrize(
    ("lines", "error", "phase"),
    [
        (["> syn", "> syn @1000"], "ETIMEDOUT", "connect"),
        (["> syn", "< syn-ack", "> syn @1000", "< syn-ack"], "ETIMEDOUT", "connect"),  # its own INPUT drops them
        (["> syn", "< rst"], "ECONNREFUSED", "connect"),
        (["> syn", "> syn @1000", "< rst"], "ECONNREFUSED", "connect"),
        (["> syn", "< icmp:3/1"], "EHOSTUNREACH", "connect"),
        (["> syn", "< icmp:3/3"], "ECONNREFUSED", "connect"),
        (["> syn", "< icmp:3/1", "> syn @1000", "< icmp:3/1"], "EHOSTUNREACH", "connect"),
        (["> syn", "< icmp:3/4", "> syn @1000"], "ETIMEDOUT", "connect"),
        (["> syn", "< syn-ack", "> ack", "> data", "< rst"], "ECONNRESET", "receive"),
        (["> syn", "< syn-ack", "> ack", "> data", "< fin", "> ack"], "eof", "receive"),
        # What the packets do not tell:
        (["> syn", "< syn-ack", "> ack", "> data", "< ack"], None, "receive"),
        (["> syn", "< icmp:3/1", "> syn @1000"], None, "connect"),
        (["> syn", "< rst", "> syn @1000"], None, "connect"),
        (["> syn", "< rst", "> syn @1000", "< rst"], None, "connect"),
        ([], None, "connect"),
    ],
)
def test_a_program_that_names_no_errno(lines: list[str], error: str | None, phase: str) -> None:
    settled = settle(outcome(exit=7), talk(*lines), SCHEDULE)
    assert (settled.error, settled.phase, settled.error_from) == (error, phase, "wire")


def test_the_last_connection_decides() -> None:
    packets = talk("> syn", "< rst") + talk("> syn @100", "< icmp:3/1", sport=40002)
    assert settle(outcome(exit=7), packets).error == "EHOSTUNREACH"


def test_a_client_that_returned_before_the_kernel_could_gave_up_itself() -> None:
    early = outcome(returned_ms=500, exit=28)
    assert settle(early, talk("> syn"), SCHEDULE).error == "timeout"
    assert settle(early, talk("> syn")).error == "ETIMEDOUT"


@pytest.mark.parametrize("said", ["ok", "no-verdict", "ECONNREFUSED", "timeout", "hang"])
def test_what_the_client_said_stands(said: str) -> None:
    settled = settle(outcome(said), talk("> syn", "> syn @1000"), SCHEDULE)
    assert (settled.error, settled.error_from) == (said, "errno")


@pytest.mark.parametrize("said", [None, "ok", "no-verdict"])
def test_a_program_that_exits_0_has_not_failed(said: str | None) -> None:
    settled = settle(outcome(said, exit=0), talk("> syn", "< rst"), SCHEDULE)
    assert (settled.error, settled.phase) == (said or "no-verdict", None)


def test_elapsed_counts_from_the_first_segment_that_the_client_sent() -> None:
    assert settle(outcome("ETIMEDOUT"), talk("> syn", "> syn @1000")).elapsed == pytest.approx(3.03)


def test_elapsed_counts_from_the_start_without_one() -> None:
    assert settle(outcome("ENETUNREACH", returned_ms=0), ()).elapsed == pytest.approx(0.007)


def test_a_measured_time_stands() -> None:
    assert settle(outcome("ok", elapsed=1.5), talk("> syn")).elapsed == 1.5


@pytest.mark.parametrize(
    ("said", "lines", "phase"),
    [
        ("EAI_NONAME", [], "resolve"),
        ("ENETUNREACH", [], "connect"),
        ("EPIPE", ["> syn", "< syn-ack", "> ack", "> data", "< rst"], "send"),
        ("hang", ["> syn", "< syn-ack", "> ack", "> data", "< ack"], "receive"),
        ("hang", ["> syn"], "connect"),
    ],
)
def test_the_phase_is_read_from_the_packets(said: str, lines: list[str], phase: str) -> None:
    assert settle(outcome(said), talk(*lines)).phase == phase


def test_a_phase_that_the_client_gave_stands() -> None:
    assert settle(outcome("ECONNRESET", phase="send"), talk("> syn", "< rst")).phase == "send"
