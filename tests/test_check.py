"""The verdict: each expectation met and not met, each reason not to believe a run, and which of them wins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaos.check import FaultReport, Leg, Verdict, check, invalid, merge
from chaos.evidence import Accept, Evidence, QueueLength, StateLog
from chaos.model import ROUTER, Outcome, Surfaced
from chaos.packets import Packet
from chaos.ranges import CountRange, Window
from chaos.scenario.language import Accepted, Expect, QueueLimit, Surfaces
from chaos.schedule import Schedule
from chaos.surfaced import is_type
from tests.talk import CLIENT, SPORT, T0, TARGET, talk
from tests.talk import ROUTER as ROUTER_ADDRESS

MS = 1_000_000
SCHEDULE = Schedule((0, 1), 3)
DROPPED, HEALTHY = ["> syn", "> syn @1000"], ["> syn", "< syn-ack @200", "> ack"]
DROP = FaultReport("drop", "server", 2)
OK = Leg(True)


def seen(*lines: str, **outcome: Any) -> Evidence:
    """A client that surfaced ETIMEDOUT after 3.03 s, or what is given, with these lines at both ends."""
    given: dict[str, Any] = {"error": "ETIMEDOUT", "phase": "connect", "elapsed": 3.03, "started_ns": T0}
    given |= {"returned_ns": T0 + 3030 * MS} | outcome
    packets = {"client": talk(*lines), "server": talk(*lines, at="server")}
    return Evidence(outcome=Outcome(**given), client="client", packets=packets)


def healthy(**fields: Any) -> Evidence:
    return replace(seen(*HEALTHY, error="ok", phase=None, elapsed=0.2), **fields)


def judged(expect: Expect, evidence: Evidence, *faults: FaultReport, baseline: Leg = OK, recovery: Leg = OK) -> Verdict:
    return check(expect, evidence, faults or (DROP,), baseline, recovery, SCHEDULE)


def reasons(expect: Expect, evidence: Evidence) -> tuple[str, ...]:
    """The reasons of a FAIL; nothing of a PASS."""
    found = judged(expect, evidence)
    assert found.kind == ("FAIL" if found.reasons else "PASS"), found
    return found.reasons


TIMED_OUT = Expect(error="ETIMEDOUT", phase="connect", elapsed="kernel", wire={"client": ("> syn x2",)})


def test_a_run_as_expected_passes() -> None:
    assert judged(TIMED_OUT, seen(*DROPPED)) == Verdict("PASS")


def test_all_mismatches_are_told_at_once() -> None:
    refused = seen("> syn", "< rst", error="ECONNREFUSED", phase="connect", elapsed=0.0023)
    assert judged(TIMED_OUT, refused) == Verdict("FAIL", judged(TIMED_OUT, refused).findings)
    assert judged(TIMED_OUT, refused).reasons == (
        "error: expected ETIMEDOUT, got ECONNREFUSED",
        "elapsed: expected kernel (2.976s..3.425s), got 0.002s",
        "elapsed: expected 2 SYNs, got 1",
        'wire at client: expected "> syn x2" (1 so far), got "< rst" as packet 2',
    )


# -- when a run may be believed


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (replace(DROP, hits=0), "drop at server: 0 hits: it touched nothing in the attempt"),
        (replace(DROP, unproven="no RST in the capture"), "drop at server: not proven: no RST in the capture"),
    ],
)
def test_a_fault_that_did_not_act_proves_nothing(fault: FaultReport, reason: str) -> None:
    assert judged(TIMED_OUT, seen(*DROPPED), DROP, fault).reasons == (reason,)
    assert judged(TIMED_OUT, seen(*DROPPED), DROP, fault).kind == "INVALID"


def test_a_failed_leg_proves_nothing() -> None:
    found = judged(TIMED_OUT, seen(*DROPPED), baseline=Leg(False, "refused"), recovery=Leg(False))
    assert found.kind == "INVALID"
    assert found.reasons[0] == "baseline: refused"
    assert found.reasons[1].startswith("recovery: the network did not work again")


def test_invalid_beats_fail_and_both_are_told() -> None:
    evidence = replace(seen(*DROPPED, error="EHOSTUNREACH"), lost={"client": 0, "server": 3})
    found = judged(TIMED_OUT, evidence)
    assert found.kind == "INVALID"
    assert found.reasons == ("capture at server: 3 packets lost", "error: expected ETIMEDOUT, got EHOSTUNREACH")
    assert judged(TIMED_OUT, replace(evidence, lost={ROUTER: 2})).reasons[0] == "the wire: 2 packets lost"


def test_verdicts_merge_to_the_worst() -> None:
    passed, failed = judged(TIMED_OUT, seen(*DROPPED)), judged(TIMED_OUT, seen(*DROPPED, error="ok1"))
    assert [merge([passed]).kind, merge([passed, failed]).kind] == ["PASS", "FAIL"]
    assert merge([failed, invalid("the agent died"), passed]).kind == "INVALID"
    assert merge([failed, invalid("the agent died")]).reasons == ("the agent died", *failed.reasons)
    assert merge([]).kind == "PASS"


def test_a_capture_of_another_node_is_not_believed() -> None:
    evidence = seen(*DROPPED)
    swapped = replace(evidence, packets={"client": evidence.packets["server"], "server": evidence.packets["client"]})
    assert [reason.split(":")[0] for reason in judged(TIMED_OUT, swapped).reasons] == [
        "capture at client",
        "capture at server",
    ]


@pytest.mark.parametrize(("place", "field"), [(0, "seq"), (1, "seq"), (1, "ack"), (2, "seq"), (2, "ack")])
def test_numbers_off_by_one_are_not_believed(place: int, field: str) -> None:
    packets = list(talk(*HEALTHY))
    packets[place] = replace(packets[place], **{field: getattr(packets[place], field) + 1})
    assert judged(Expect(error="ok"), healthy(packets={"client": tuple(packets)})).kind == "INVALID"


@pytest.mark.parametrize("place", range(3))
def test_a_removed_segment_is_not_believed(place: int) -> None:
    packets = talk(*HEALTHY)
    assert (
        judged(Expect(error="ok"), healthy(packets={"client": packets[:place] + packets[place + 1 :]})).kind
        == "INVALID"
    )


def test_a_client_that_says_ok_and_never_connected_is_not_believed() -> None:
    assert judged(Expect(error="ok"), healthy(packets={"client": ()})).kind == "INVALID"


@pytest.mark.parametrize(
    ("expect", "field"),
    [
        (Expect(wire={"bystander": ()}), "wire at bystander"),
        (Expect(states={"client": ("ESTABLISHED",)}), "states at client"),
        (Expect(queues={"server": QueueLimit(1, 1)}), "queues at server"),
        (Expect(kernel={"server": {"ListenOverflows": CountRange(1, None)}}), "kernel.ListenOverflows at server"),
    ],
)
def test_what_was_not_observed_is_not_believed(expect: Expect, field: str) -> None:
    found = judged(expect, healthy())
    assert (found.kind, found.reasons[0].split(":")[0]) == ("INVALID", field)


# -- what the client surfaced


@pytest.mark.parametrize(
    ("expect", "reason"),
    [
        (Expect(error="ETIMEDOUT"), None),
        (Expect(error="ECONNREFUSED"), "error: expected ECONNREFUSED, got ETIMEDOUT"),
        (Expect(phase="receive"), "phase: expected receive, got connect"),
        (Expect(step=1), "step: expected 1, got none"),
        (Expect(elapsed=Window(3.0, 3.5)), None),
        (Expect(elapsed=Window(None, 0.5)), "elapsed: expected ..500ms, got 3.030s"),
        (Expect(elapsed=Window(4.0, None)), "elapsed: expected 4s.., got 3.030s"),
        (Expect(elapsed="kernel"), None),
    ],
)
def test_error_phase_step_and_time(expect: Expect, reason: str | None) -> None:
    assert reasons(expect, seen(*DROPPED)) == ((reason,) if reason else ())


@pytest.mark.parametrize(("took", "passes"), [(2.97, False), (2.98, True), (3.0, True), (3.42, True), (3.43, False)])
def test_the_kernel_is_hardly_early_and_a_little_late(took: float, passes: bool) -> None:
    assert (reasons(Expect(elapsed="kernel"), seen(*DROPPED, elapsed=took)) == ()) == passes


def test_the_kernels_syns_are_held_against_its_schedule() -> None:
    assert reasons(Expect(elapsed="kernel"), seen("> syn", "> syn @500")) == (
        "elapsed: expected SYN 2 at 0.976s..1.175s, got 0.500s",
    )
    assert reasons(Expect(elapsed="kernel"), seen()) == ()  # its own OUTPUT took them


def after_arp(asked: float, answered: float, *others: Packet) -> Evidence:
    """SYNs at 39 and 1001 ms, on a machine so busy that the router's address took a while; times in ms."""

    def arp(at: float, operation: str) -> Packet:
        packet = Packet(T0 + round(at * MS), operation == "request", CLIENT, ROUTER_ADDRESS, "arp")
        return replace(packet, operation=operation, target=ROUTER_ADDRESS)

    evidence = seen("> syn @39", "> syn @1001", elapsed=2.962)
    before = [arp(asked, "request"), arp(answered, "reply"), *others]
    return replace(evidence, attempt={"client": (*before, *evidence.packets["client"])})


KNOWN = talk("> syn @38.95", sport=SPORT + 1)[0]
"""Of another connection: it would have waited, too."""


@pytest.mark.parametrize(
    ("evidence", "passes"),
    [
        (after_arp(0.5, 38.9), True),
        (after_arp(38.8, 38.9), False),  # it did not wait for that
        (after_arp(0.5, 2.0), True),  # the answer had to wait, too
        (after_arp(-70.0, -60.0), False),  # nor for this, which was answered long before
        (after_arp(0.5, 38.9, KNOWN), False),
    ],
)
def test_the_kernels_clock_runs_while_a_syn_waits_for_the_routers_address(evidence: Evidence, passes: bool) -> None:
    early = (
        "elapsed: expected kernel (2.976s..3.425s), got 2.962s",
        "elapsed: expected SYN 2 at 0.976s..1.175s, got 0.962s",
    )
    assert reasons(Expect(elapsed="kernel"), evidence) == (() if passes else early)


def test_an_error_that_nobody_names_is_not_believed() -> None:
    found = judged(Expect(error="ETIMEDOUT"), seen(*DROPPED, error=None, exit=7))
    assert found.kind == "INVALID"
    assert found.reasons == ("error: expected ETIMEDOUT; neither the client (exit status 7) nor the packets name one",)


CHAIN = (
    Surfaced("requests.exceptions.ConnectionError", "HTTPConnectionPool: Connection refused"),
    Surfaced("urllib3.exceptions.NewConnectionError", "refused"),
    Surfaced("builtins.ConnectionRefusedError", "[Errno 111] Connection refused", "ECONNREFUSED"),
)


@pytest.mark.parametrize(
    ("surfaces", "reason"),
    [
        (Surfaces(type="requests.exceptions.ConnectionError"), None),
        (Surfaces(type="ConnectionError"), None),
        (
            Surfaces(type="exceptions.ConnectionError"),
            "surfaces.type: expected exceptions.ConnectionError, got requests.",
        ),
        (Surfaces(type="ConnectionRefusedError"), "surfaces.type: expected ConnectionRefusedError, got requests."),
        (Surfaces(cause="ConnectionRefusedError"), None),
        (Surfaces(cause="urllib3.exceptions.NewConnectionError"), None),
        (
            Surfaces(cause="TimeoutError"),
            "surfaces.cause: expected TimeoutError, got requests.exceptions.ConnectionError <- ",
        ),
        (Surfaces(message="Connection refused$"), None),
        (Surfaces(message="timed out"), "surfaces.message: expected /timed out/, got 'HTTPConnectionPool"),
        (Surfaces(code="2003"), "surfaces.code: expected 2003, got none"),
        (Surfaces(exit=CountRange(7, 7)), None),
        (Surfaces(exit=CountRange(28, 28)), "surfaces.exit: expected 28, got 7"),
        (Surfaces(stderr="Failed to connect"), None),
        (Surfaces(stderr="timed out"), "surfaces.stderr: expected /timed out/, got 'curl: (7) Failed to connect'"),
    ],
)
def test_what_the_user_sees(surfaces: Surfaces, reason: str | None) -> None:
    told = reasons(
        Expect(surfaces=surfaces), seen(*DROPPED, chain=CHAIN, exit=7, stderr="curl: (7)\n Failed to connect\n")
    )
    assert [one.startswith(reason or "?") for one in told] == ([True] if reason else [])


def test_a_client_without_an_exception_surfaces_none() -> None:
    everything = Surfaces(type="OSError", cause="OSError", message="x", exit=CountRange(0, 0), stderr="x")
    assert reasons(Expect(surfaces=everything), seen(*DROPPED)) == (
        "surfaces.type: expected OSError, got no exception",
        "surfaces.cause: expected OSError, got no exception",
        "surfaces.message: expected /x/, got nothing",
        "surfaces.exit: expected 0, got no exit status",
        "surfaces.stderr: expected /x/, got nothing",
    )


@pytest.mark.parametrize(
    ("wanted", "got", "same"),
    [
        ("TimeoutError", "builtins.TimeoutError", True),
        ("builtins.TimeoutError", "TimeoutError", True),
        ("TimeoutError", "asyncio.TimeoutError", True),
        ("asyncio.TimeoutError", "builtins.TimeoutError", False),
        ("Error", "socket.TimeoutError", False),
    ],
)
def test_types_are_named_in_full_or_by_their_class(wanted: str, got: str, same: bool) -> None:
    assert is_type(wanted, got) == same


# -- what the kernel and the wire show


def test_nothing_on_the_wire_is_an_expectation_too() -> None:
    assert reasons(Expect(wire={"client": ()}), seen()) == ()
    assert reasons(Expect(wire={"client": ()}), seen(*DROPPED)) == (
        'wire at client: expected the end, got "> syn" as packet 1',
    )


def test_queues() -> None:
    full = seen(*DROPPED)
    expect = Expect(queues={"server": QueueLimit(2, 1)})
    assert reasons(expect, replace(full, queues={"server": QueueLength(2, 1)})) == ()
    assert reasons(expect, replace(full, queues={"server": QueueLength(1, 1)})) == (
        "queues.accept at server: expected 2, got 1",
    )


@pytest.mark.parametrize("name", ["ListenOverflows", "TcpExtListenOverflows"])
def test_counters_by_either_name(name: str) -> None:
    expect = Expect(kernel={"server": {name: CountRange(1, None)}})
    for rose, told in ((2, ()), (0, (f"kernel.{name} at server: expected 1.., got 0",))):
        assert reasons(expect, replace(seen(*DROPPED), kernel={"server": {"TcpExtListenOverflows": rose}})) == told


def test_a_counter_that_two_tables_have_must_be_named_in_full() -> None:
    evidence = replace(seen(*DROPPED), kernel={"server": {"TcpInErrs": 0, "UdpInErrs": 0}})
    found = judged(Expect(kernel={"server": {"InErrs": CountRange(0, 0)}}), evidence)
    assert (found.kind, "TcpInErrs, UdpInErrs" in found.reasons[0]) == ("INVALID", True)


def log(*states: str, gap_s: float = 0.005) -> StateLog:
    return StateLog(tuple((T0 + number * MS, state) for number, state in enumerate(states)), gap_s)


@pytest.mark.parametrize(
    ("seen_states", "gap_s", "kind", "reason"),
    [
        (["SYN_SENT", "ESTABLISHED"], 0.005, "PASS", None),
        (["SYN_SENT", "SYN_SENT", "ESTABLISHED"], 0.005, "PASS", None),
        (["ESTABLISHED"], 0.005, "FAIL", "expected SYN_SENT, got ESTABLISHED"),
        (
            ["ESTABLISHED"],
            0.250,
            "INVALID",
            "SYN_SENT was not seen, and may have been missed: the sampler's longest hole is 250",
        ),
        (["ESTABLISHED", "SYN_SENT"], 0.005, "FAIL", "expected SYN_SENT, ESTABLISHED, got ESTABLISHED, SYN_SENT"),
        (["SYN_SENT", "ESTABLISHED", "CLOSE_WAIT"], 0.005, "FAIL", "expected ESTABLISHED as the last, got"),
        (["SYN_SENT"], 0.005, "FAIL", "expected ESTABLISHED, got SYN_SENT"),
        ([], 0.005, "FAIL", "expected SYN_SENT, got no state"),
    ],
)
def test_states(seen_states: list[str], gap_s: float, kind: str, reason: str | None) -> None:
    """The client is in SYN_SENT for 200 ms, and in ESTABLISHED until the end."""
    found = judged(
        Expect(states={"client": ("SYN_SENT", "ESTABLISHED")}),
        healthy(states={"client": log(*seen_states, gap_s=gap_s)}),
    )
    assert found.kind == kind
    assert reason is None or reason in found.reasons[0]


def test_a_state_that_never_began_is_a_finding_however_poor_the_sampler() -> None:
    evidence = replace(seen(), states={"server": log(gap_s=9.0)})
    assert judged(Expect(states={"server": ("SYN_RECV",)}), evidence).kind == "FAIL"


ACCEPTED = Accepted(after="ack", fd="new", peer="client")
ACCEPT = Accept(T0 - MS, T0 + 202 * MS, 5, 3, (CLIENT, SPORT))


@pytest.mark.parametrize(
    ("accepts", "reason"),
    [
        ((ACCEPT,), None),
        ((replace(ACCEPT, peer=(f"::ffff:{CLIENT}", SPORT)),), None),
        ((replace(ACCEPT, peer=(TARGET, 1)), ACCEPT), None),
        ((), f"accepted.peer: expected {CLIENT} port {SPORT}, got no accept() that returned"),
        ((replace(ACCEPT, peer=(CLIENT, 1)),), f"accepted.peer: expected {CLIENT} port {SPORT}, got {CLIENT} port 1"),
        ((replace(ACCEPT, fd=3),), "accepted.fd: expected a new descriptor, got 3, the listener's"),
        (
            (replace(ACCEPT, returned_ns=T0 + 100 * MS),),
            "accepted.after: expected accept() returned after the final ACK, got -101.000 ms from it",
        ),
        (
            (replace(ACCEPT, entered_ns=T0 + 203 * MS, returned_ns=T0 + 204 * MS),),
            "accepted.after: expected accept() entered before the final ACK, got +2.000 ms from it",
        ),
    ],
)
def test_accept(accepts: tuple[Accept, ...], reason: str | None) -> None:
    assert reasons(Expect(accepted=ACCEPTED), healthy(accepts=accepts)) == ((reason,) if reason else ())


def test_without_a_connection_nothing_was_accepted() -> None:
    assert reasons(Expect(accepted=ACCEPTED), seen(*DROPPED)) == (
        "accepted: expected a connection, got none that was established",
    )


def test_the_captures_are_needed_for_accept() -> None:
    packets: dict[str, tuple[Packet, ...]] = {"client": talk(*HEALTHY)}
    assert judged(Expect(accepted=ACCEPTED), healthy(packets=packets)).kind == "INVALID"
