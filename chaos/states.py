"""The TCP states that a scenario expects at a node, held against what the sampler saw.

The listed states must be seen in their order, others between them are allowed, and the last one listed is the last
one seen. A sampler may miss a state that was shorter than its longest hole: then an unseen state says nothing
(INVALID). How long a state lasted is read from the packets, so that a sampler that had to see it convicts (FAIL).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from chaos.conversation import Flow, flows
from chaos.findings import Finding, mismatch, unknown

if TYPE_CHECKING:
    from chaos.evidence import Evidence, StateLog
    from chaos.scenario import Expect

COVERED = 0.010
"""Seconds: of a state whose length the packets do not tell, a sampler with no longer hole is believed."""


def states(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """Findings for every node that the scenario names."""
    for node, wanted in expect.states.items():
        log = evidence.states.get(node)
        if log is None:
            yield unknown(f"states at {node}", "were not sampled")
        else:
            yield from _at(node, wanted, log, evidence)


def _at(node: str, wanted: Sequence[str], log: StateLog, evidence: Evidence) -> Iterator[Finding]:
    seen = log.states
    told = ", ".join(seen) or "no state"
    unseen = [state for state in wanted if state not in seen]
    for state in unseen:
        if _must_be_seen(state, node, log.gap_s, evidence):
            yield mismatch(f"states at {node}", state, told)
        else:
            hole = f"the sampler's longest hole is {log.gap_s * 1000:.1f} ms"
            yield unknown(f"states at {node}", f"{state} was not seen, and may have been missed: {hole}")
    if unseen or not wanted:
        return
    if not _in_order(wanted, seen):
        yield mismatch(f"states at {node}", ", ".join(wanted), told)
    elif seen[-1] != wanted[-1]:
        yield mismatch(f"states at {node}", f"{wanted[-1]} as the last", told)


def _in_order(wanted: Sequence[str], seen: Sequence[str]) -> bool:
    rest = iter(seen)
    return all(state in rest for state in wanted)


def _must_be_seen(state: str, node: str, gap_s: float, evidence: Evidence) -> bool:
    if state not in _SPANS:
        return gap_s <= COVERED
    spans = [length(state, flow, evidence.outcome.returned_ns) for flow in flows(evidence.packets.get(node, ()))]
    lasted = [span for span in spans if span is not None]
    return not lasted or max(lasted) > gap_s  # no span: by the packets it never was, and that is a finding too


def length(state: str, flow: Flow, end_ns: int) -> float | None:
    """Seconds that SYN_SENT, SYN_RECV or ESTABLISHED lasted at the node of these packets; None: it did not begin.

    `end_ns` is where the attempt ends, for a state that lasts until then.
    """
    begins, ends = _SPANS[state]
    start = _first(flow, begins, 0)
    if start is None:
        return None
    end = _first(flow, ends, start)
    return max(0, (end_ns if end is None else end) - start) / 1e9


def _first(flow: Flow, names: Sequence[str], after: int) -> int | None:
    """When the first packet of one of these names came; `final` is the handshake's final ACK."""
    final = [flow.final_ack] if flow.final_ack and "final" in names else []
    found = [*flow.of(">", *_of(">", names)), *flow.of("<", *_of("<", names)), *final]
    return min((packet.time_ns for packet in found if packet.time_ns >= after), default=None)


def _of(way: str, names: Sequence[str]) -> list[str]:
    return [name[1:] for name in names if name.startswith(way)]


_ENDS = (">rst", "<rst", ">fin", "<fin")

_SPANS = {
    "SYN_SENT": ((">syn",), ("<syn-ack", "<syn", *_ENDS)),
    "SYN_RECV": (("<syn-ack", "<syn"), ("final", *_ENDS)),
    "ESTABLISHED": (("final",), _ENDS),
}
"""State: the packets that begin it, the packets that end it (RFC 9293, section 3.3.2, figure 5)."""
