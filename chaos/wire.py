"""What a scenario says about a conversation, held against the packets; the lines are those of pattern.py.

The patterns together must account for every packet, in order; only `...` skips. `match` follows all readings at once
(a pattern with a range may stop early or late), so its time is linear in the packets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from chaos.conversation import Client, direction, opener, segment
from chaos.packets import Packet
from chaos.pattern import Bindings, Pattern, Term, parse
from chaos.transcript import render, table

__all__ = ["Pattern", "follow", "match", "parse", "render", "table"]

T = TypeVar("T")
Seen_contra = TypeVar("Seen_contra", contravariant=True)


class Line(Protocol[Seen_contra]):
    """One line of a language: so many things in a row that it accepts. `way` is None when it may be none at all."""

    @property
    def text(self) -> str: ...
    @property
    def way(self) -> str | None: ...
    @property
    def low(self) -> int: ...
    @property
    def high(self) -> int | None: ...
    @property
    def fields(self) -> tuple[tuple[str, Term], ...]: ...

    def accepts(self, seen: Seen_contra, client: Client, bound: Bindings, /) -> Bindings | None:
        """The bindings after it, or None when it is not what the line says."""


class _Reading(NamedTuple):
    """One way to read the packets so far: `taken` of them are taken by the pattern that stands at `place`."""

    place: int
    taken: int
    bound: Bindings


def match(patterns: Sequence[Pattern], packets: Sequence[Packet], client: Client = frozenset()) -> list[str]:
    """What the packets are not that the patterns say: `expected X, got Y` of the first packet that fits no reading.

    Empty when they match. `client` is the client's addresses; without them, the conversation's opener.
    """
    client = client or opener(packets)
    return follow(patterns, packets, client, lambda packet, numbers: _line(packet, client, numbers))


def follow(
    patterns: Sequence[Line[T]], packets: Sequence[T], client: Client, shown: Callable[[T, bool], str]
) -> list[str]:
    """`match` for anything that lines can be about; `shown` is one of them in words, if need be with its numbers."""
    live = _advanced({_Reading(0, 0, frozenset())}, patterns)
    for number, packet in enumerate(packets, 1):
        following = {taken for reading in live for taken in _taken(reading, patterns, packet, client)}
        if not following:
            numbers = any(patterns[reading.place].fields for reading in live if reading.place < len(patterns))
            got = shown(packet, numbers)
            return [f'expected {_expected(live, patterns)}, got "{got}" as packet {number}']
        live = _advanced(following, patterns)
    if any(reading.place == len(patterns) for reading in live):
        return []
    return [f"expected {_expected(live, patterns)}, got the end after {_packets(len(packets))}"]


def _advanced(readings: set[_Reading], patterns: Sequence[Line[T]]) -> set[_Reading]:
    """The readings, and those that are done with a pattern and go on to the next."""
    found, waiting = set(readings), list(readings)
    while waiting:
        at, count, bound = waiting.pop()
        if at < len(patterns) and count >= patterns[at].low:
            onward = _Reading(at + 1, 0, bound)
            if onward not in found:
                found.add(onward)
                waiting.append(onward)
    return found


def _taken(reading: _Reading, patterns: Sequence[Line[T]], packet: T, client: Client) -> Iterator[_Reading]:
    at, count, bound = reading
    if at == len(patterns) or (patterns[at].high is not None and count == patterns[at].high):
        return
    after = patterns[at].accepts(packet, client, bound)
    if after is not None:
        # Without an upper limit it does not matter how many there were beyond the lower one.
        count = min(count + 1, patterns[at].low) if patterns[at].high is None else count + 1
        yield _Reading(at, count, after)


def _expected(live: set[_Reading], patterns: Sequence[Line[T]]) -> str:
    """What would have been welcome, in the patterns' order, with the values of the names in it."""
    said = []
    for at, count, bound in sorted(live, key=lambda reading: reading[:2]):
        if at == len(patterns):
            said.append("the end")
        elif patterns[at].way is not None and count != patterns[at].high:
            known = [f"{name}={value}" for name, value in sorted(bound) if _uses(patterns[at], name)]
            progress = [f"{count} so far"] if count else []
            note = ", ".join(progress + known)
            said.append(f'"{patterns[at].text}"' + (f" ({note})" if note else ""))
    return " or ".join(dict.fromkeys(said)) or '"..."'


def _uses(pattern: Line[T], name: str) -> bool:
    return any(term.name == name for _, term in pattern.fields)


def _packets(count: int) -> str:
    return "1 packet" if count == 1 else f"{count} packets"


def _line(packet: Packet, client: Client, numbers: bool) -> str:
    text = f"{direction(packet, client)} {segment(packet)}"
    if not numbers:
        return text
    if packet.quoted:
        return f"{text} seq={packet.quoted.seq}"
    return f"{text} seq={packet.seq} ack={packet.ack}" + (f" len={packet.length}" if packet.length else "")
