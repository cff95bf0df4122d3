"""Which address was tried when, and what came of it: the timeline of a client that has several to choose from.

A client that does as RFC 8305 says begins the next attempt 250 ms after the last one (its section 5, "Connection
Attempt Delay"), or at once when that has failed. One that does not tries them one after the other, each for as long as
the kernel does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.conversation import Flow, flows, segment
from chaos.findings import Finding, mismatch
from chaos.model import Answer, Family
from chaos.packets import Packet

if TYPE_CHECKING:
    from chaos.evidence import Evidence
    from chaos.scenario import Expect
    from chaos.scenario.language import Try


@dataclass(frozen=True)
class Attempt:
    """One connect(): to which address, how many seconds after the first one, and the first answer to it."""

    address: str
    at: float
    answer: Answer

    @property
    def family(self) -> Family:
        return "ipv6" if ":" in self.address else "ipv4"

    def __str__(self) -> str:
        answered = "no answer" if self.answer == "none" else self.answer
        return f"{self.at * 1000:.1f} ms: {self.family} {self.address}, {answered}"


def attempts(packets: Sequence[Packet]) -> tuple[Attempt, ...]:
    """The attempts of a conversation, in the order in which they began."""
    found = flows(packets)
    return tuple(
        Attempt(flow.key.target, (flow.packets[0].time_ns - found[0].packets[0].time_ns) / 1e9, _answer(flow))
        for flow in found
    )


def _answer(flow: Flow) -> Answer:
    for packet in flow.packets:
        if flow.direction(packet) == "<":
            if packet.icmp is not None:
                return "icmp"
            return "rst" if segment(packet) == "rst" else "syn-ack"
    return "none"


def findings(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """The timeline that a scenario expects, held against the one at the client."""
    if not expect.attempts:
        return
    found = attempts(evidence.packets[evidence.client])
    if len(found) != len(expect.attempts):
        told = "; ".join(map(str, found)) or "none"
        yield mismatch("attempts", f"{len(expect.attempts)} of them", f"{len(found)} ({told})")
    for number, (wanted, got) in enumerate(zip(expect.attempts, found, strict=False)):
        yield from _differences(f"attempts.{number}", wanted, got)


def _differences(name: str, wanted: Try, got: Attempt) -> Iterator[Finding]:
    if wanted.family not in (None, got.family):
        yield mismatch(f"{name}.family", wanted.family, got)
    if wanted.answer not in (None, got.answer):
        yield mismatch(f"{name}.answer", wanted.answer, got)
    if wanted.at is not None and got.at not in wanted.at:
        yield mismatch(f"{name}.at", wanted.at, got)
