"""What a scenario expects the client to surface, held against the outcome: error, phase, step, time and type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from chaos.conversation import flows
from chaos.findings import Finding, mismatch, unknown

if TYPE_CHECKING:
    from chaos.evidence import Evidence
    from chaos.model import Outcome
    from chaos.packets import Packet
    from chaos.scenario import Expect, Surfaces
    from chaos.schedule import Schedule

PROCESSED: Final = 50_000_000
"""Nanoseconds from a neighbour's answer to what waited for it: a frame has its time when it is queued
(net.core.netdev_tstamp_prequeue), and a busy processor comes to it later."""


def error(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """error, phase and step."""
    outcome = evidence.outcome
    if expect.error is not None and outcome.error is None:
        ending = "" if outcome.exit is None else f" (exit status {outcome.exit})"
        yield unknown("error", f"expected {expect.error}; neither the client{ending} nor the packets name one")
    elif expect.error not in (None, outcome.error):
        yield mismatch("error", expect.error, outcome.error)
    if expect.phase not in (None, outcome.phase):
        yield mismatch("phase", expect.phase, outcome.phase or "none")
    if expect.step not in (None, outcome.step):
        yield mismatch("step", expect.step, outcome.step or "none")


def elapsed(expect: Expect, evidence: Evidence, schedule: Schedule | None) -> Iterator[Finding]:
    """A window, or the kernel's schedule: when connect() gave up, and when each SYN left."""
    if expect.elapsed is None:
        return
    took = evidence.outcome.elapsed
    if took is None:
        yield unknown("elapsed", "was not measured")
    elif expect.elapsed != "kernel":
        if took not in expect.elapsed:
            yield mismatch("elapsed", expect.elapsed, f"{took:.3f}s")
    elif schedule is None:
        yield unknown("elapsed", "the kernel's schedule is not known")
    else:
        yield from _kernel(took, evidence, schedule)


def _kernel(took: float, evidence: Evidence, schedule: Schedule) -> Iterator[Finding]:
    low, high = schedule.window
    found = flows(evidence.packets.get(evidence.client, ()))
    # None: the client's own firewall took them, and no capture can see that (packet(7)).
    attempts = [(_begun(syns[0], evidence), syns) for flow in found if (syns := flow.of(">", "syn"))]
    held = next(((first.time_ns - begun) / 1e9 for begun, (first, *_) in attempts), 0.0)
    if not low - held <= took <= high:
        yield mismatch("elapsed", f"kernel ({low:.3f}s..{high:.3f}s)", f"{took:.3f}s")
    for begun, syns in attempts:
        sent = [0.0, *((syn.time_ns - begun) / 1e9 for syn in syns[1:])]
        yield from (Finding("FAIL", f"elapsed: {text}") for text in schedule.mismatches(sent))


def _begun(syn: Packet, evidence: Evidence) -> int:
    """When the timer of a flow's first SYN was set, in ns: it may have waited for a neighbour's address meanwhile.

    On a busy machine that takes milliseconds. The segment leaves when the neighbour has answered, but the kernel's
    clock runs since it asked (net/ipv4/tcp_output.c, tcp_connect(); net/core/neighbour.c, neigh_resolve_output()).
    """
    asked = answered = None
    for packet in evidence.attempt.get(evidence.client, ()):
        if packet.time_ns >= syn.time_ns:
            break
        if (":" in (packet.target or packet.dst)) != (":" in syn.src):
            continue
        if packet.operation == "request" and packet.outgoing:
            asked, answered = asked or packet.time_ns, None
        elif packet.operation == "reply" and not packet.outgoing:
            answered = packet.time_ns
        elif packet.outgoing and not packet.operation:
            asked = None  # the address is known
    left_then = answered is not None and syn.time_ns - answered < PROCESSED
    return asked if asked is not None and left_then else syn.time_ns


def surfaces(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """What the library's or the program's user sees."""
    if expect.surfaces is None:
        return
    wanted, outcome = expect.surfaces, evidence.outcome
    if wanted.type is not None and not (outcome.type and is_type(wanted.type, outcome.type)):
        yield mismatch("surfaces.type", wanted.type, outcome.type or "no exception")
    if wanted.cause is not None and not any(is_type(wanted.cause, one.type) for one in outcome.chain):
        chain = " <- ".join(one.type for one in outcome.chain)
        yield mismatch("surfaces.cause", wanted.cause, chain or "no exception")
    if wanted.message is not None and not re.search(wanted.message, outcome.message or ""):
        yield mismatch("surfaces.message", f"/{wanted.message}/", _quoted(outcome.message))
    if wanted.code not in (None, outcome.code):
        yield mismatch("surfaces.code", wanted.code, outcome.code or "none")
    yield from _program(wanted, outcome)


def calls(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """Every system call of the socket client, in order, with the error that it came to."""
    if expect.calls is None:
        return
    if evidence.outcome.error == "hang":
        yield unknown("calls", "the client was killed before it could tell")
    elif expect.calls != evidence.outcome.calls:
        yield mismatch("calls", ", ".join(expect.calls), ", ".join(evidence.outcome.calls) or "none")


def _program(wanted: Surfaces, outcome: Outcome) -> Iterator[Finding]:
    if wanted.exit is not None:
        if outcome.exit is None:
            yield mismatch("surfaces.exit", wanted.exit, "no exit status")
        elif outcome.exit not in ((wanted.exit,) if isinstance(wanted.exit, int) else wanted.exit):
            yield mismatch("surfaces.exit", wanted.exit, outcome.exit)
    if wanted.stderr is not None and not re.search(wanted.stderr, outcome.stderr):
        yield mismatch("surfaces.stderr", f"/{wanted.stderr}/", _quoted(outcome.stderr))


def is_type(wanted: str, qualified: str) -> bool:
    """Whether an exception of this qualified name is meant: by all of it, or by its class alone.

    `builtins.` may be there or not: ConnectionRefusedError and builtins.ConnectionRefusedError are one.
    """
    wanted, qualified = wanted.removeprefix("builtins."), qualified.removeprefix("builtins.")
    return wanted == qualified or ("." not in wanted and wanted == qualified.rpartition(".")[2])


def _quoted(text: str | None) -> str:
    """The text in quotes on one line, cut where it would fill a screen."""
    if not text:
        return "nothing"
    line = " ".join(text.split())
    return f"'{line}'" if len(line) <= 160 else f"'{line[:157]}...'"
