"""The rules of the wire: which segments, what becomes of them, and how many there were.

A rule is told as {"number", "match": {...}, "action": {"do": NAME, ...}}; its match:

    version   4 or 6
    segments  names of the language (segment.py): a `syn` is one that goes to the port, a `syn-ack` one from it
    port      the end that is dialled
    from, to  addresses, or null
    larger    only packets of more bytes than this, IP header included; or null
    nth       [first, last or null], counted from 1 over the segments that match since the rule was armed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from chaos.agent.actions import action, packed
from chaos.agent.segment import ETHERNET, Segment, names, parse


class Passed(NamedTuple):
    """A frame behind the rules: late by so many seconds, and by the doing of which rule."""

    frame: bytes
    late: float = 0.0
    owner: int = 0


class Match:
    """The segments of a rule; counts them."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._version, self._port = said["version"], said["port"]
        self._segments = frozenset(said["segments"])
        self._from, self._to = (packed(said[end]) if said[end] else None for end in ("from", "to"))
        self._larger = said["larger"] or 0
        self._first, self._last = said["nth"]
        self._seen = 0

    def takes(self, segment: Segment) -> bool:
        """Whether the rule acts on this one."""
        if not self._fits(segment):
            return False
        self._seen += 1
        return self._first <= self._seen and (self._last is None or self._seen <= self._last)

    def _fits(self, segment: Segment) -> bool:
        if segment.version != self._version or self._port not in (segment.sport, segment.dport):
            return False
        called = names(segment) - {"syn" if segment.dport != self._port else "syn-ack"}
        if "any" not in self._segments and not self._segments & called:
            return False
        if self._from not in (None, segment.src) or self._to not in (None, segment.dst):
            return False
        return segment.end - ETHERNET > self._larger


class Rule:
    """A rule in force. touched: the segments that it acted on."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self.number: int = said["number"]
        self.touched = 0
        self._match = Match(said["match"])
        self._action = action(**said["action"])

    def passed(self, before: Passed, now: float) -> list[Passed]:
        """What becomes of a frame that comes to this rule at `now`."""
        segment = parse(before.frame)
        if segment is None:
            return [before]
        if self._match.takes(segment):
            self.touched += 1
            found = self._action.act(before.frame, segment, now + before.late)
        else:
            found = self._action.beside(before.frame, segment)
        return [Passed(frame, before.late + late, self.number if late else before.owner) for frame, late in found]


class Rules:
    """All that are in force, in the order in which they were armed."""

    def __init__(self) -> None:
        self._rules: dict[int, Rule] = {}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def arm(self, said: Mapping[str, Any]) -> int:
        """Put a rule in force; its number."""
        rule = Rule(said)
        self._rules[rule.number] = rule
        return rule.number

    def count(self, number: int) -> int:
        """How many segments a rule has acted on."""
        return self._rules[number].touched

    def withdraw(self, number: int) -> None:
        """Put a rule out of force; a segment that it holds is gone with it."""
        del self._rules[number]

    def passed(self, frame: bytes, now: float) -> list[Passed]:
        """What becomes of a frame."""
        found = [Passed(frame)]
        for rule in self._rules.values():
            found = [after for before in found for after in rule.passed(before, now)]
        return found
