"""One line of the wire language, as a scenario writes it.

> syn x2                        the client's SYN, twice       (x1..3, x1.. and x0..2 are ranges)
< syn-ack seq=k ack=j+1         names are bound by their first use and checked by the next, modulo 2**32
< icmp:3/1 seq=j                type and code, the number that it quotes  (icmp:3 and icmp match any code, any type)
> data len=5                    bytes of payload
< ack win=0                     the window, as in the header
> udp, > raw                    a datagram
> any                           one packet, whatever it is
...                             anything, also nothing
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from chaos.conversation import MODULUS, Client, Direction, direction, names, segment
from chaos.packets import Packet
from chaos.suggest import did_you_mean

SEGMENTS = ("syn", "syn-ack", "ack", "data", "fin", "rst", "udp", "raw", "any")
FIELDS = ("seq", "ack", "len", "win")

_ICMP = re.compile(r"icmp(?::(\d{1,3})(?:/(\d{1,3}))?)?")
COUNT = re.compile(r"x\d{1,6}(?:\.\.(?:\d{1,6})?)?")
_TERM = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_]*)(?P<offset>[+-]\d{1,10})?|(?P<number>\d{1,10})")

Bindings = frozenset[tuple[str, int]]


class Term(NamedTuple):
    """A value of a field: `name + offset`, or the number `offset` when there is no name."""

    name: str | None
    offset: int


@dataclass(frozen=True)
class Pattern:
    """One line. `way` is None for `...`; `high` is None when there is no upper limit."""

    text: str
    way: Direction | None
    segment: str = "any"
    low: int = 1
    high: int | None = 1
    fields: tuple[tuple[str, Term], ...] = ()

    def accepts(self, packet: Packet, client: Client, bound: Bindings) -> Bindings | None:
        """The bindings after this packet, or None when it is not what the pattern says."""
        if self.way is None:
            return bound
        if direction(packet, client) != self.way or not self._is_named(packet):
            return None
        values = dict(bound)
        for field, term in self.fields:
            value = _value(packet, field)
            if value is None:
                return None
            rest = (value - term.offset) % MODULUS
            if rest != (0 if term.name is None else values.setdefault(term.name, rest)):
                return None
        return frozenset(values.items())

    def _is_named(self, packet: Packet) -> bool:
        if self.segment == "any":
            return True
        if not self.segment.startswith("icmp"):
            return self.segment in names(packet)
        wanted, got = re.split("[:/]", self.segment), re.split("[:/]", segment(packet))
        return got[: len(wanted)] == wanted


def parse(line: str) -> Pattern:
    """One line of the language. Raises ValueError with what is wrong and what was probably meant."""
    words = line.split()
    if words == ["..."]:
        return Pattern("...", None, low=0, high=None)
    if not words or words[0] not in (">", "<"):
        raise ValueError(f"expected '>', '<' or '...' at the start of {line!r}")
    if len(words) < 2:
        raise ValueError(f"{line!r} names no segment: one of {', '.join(SEGMENTS)}, icmp:TYPE/CODE")
    way: Direction = ">" if words[0] == ">" else "<"
    low: int
    high: int | None
    kind, low, high, fields = _segment(words[1]), 1, 1, []
    for word in words[2:]:
        if COUNT.fullmatch(word):
            low, high = counted(word)
        else:
            fields.append(_field(word, kind))
    if len({name for name, _ in fields}) < len(fields):
        raise ValueError(f"{line!r} says a field twice")
    return Pattern(" ".join(words), way, kind, low, high, tuple(fields))


def _segment(word: str) -> str:
    if word in SEGMENTS:
        return word
    icmp = _ICMP.fullmatch(word)
    if icmp and all(int(number) < 256 for number in icmp.groups() if number):
        return word
    raise ValueError(f"no segment is named {word!r}{did_you_mean(word, (*SEGMENTS, 'icmp:3/1'))}")


def counted(word: str) -> tuple[int, int | None]:
    """`x2`, `x1..3` or `x1..` as (low, high), None without a limit. Raises ValueError when it can match nothing."""
    first, dots, last = word[1:].partition("..")
    if dots and not last:
        return int(first), None
    low, high = int(first), int(last or first)
    if high < low or high == 0:
        raise ValueError(f"{word!r} can match nothing")
    return low, high


def _field(word: str, kind: str) -> tuple[str, Term]:
    name, equals, value = word.partition("=")
    if not equals or name not in FIELDS:
        known = ", ".join(f"{field}=" for field in FIELDS)
        raise ValueError(f"expected a count (x2, x1..3) or {known}, got {word!r}{did_you_mean(name, FIELDS)}")
    if kind.startswith("icmp") and name != "seq":
        raise ValueError(f"an ICMP error has no {name!r}, only the 'seq' that it quotes")
    term = _TERM.fullmatch(value)
    if term is None or int(term["number"] or 0) >= MODULUS:
        raise ValueError(f"expected a number, a name or name+1 behind '{name}=', got {value!r}")
    return name, Term(term["name"], int(term["offset"] or term["number"] or 0))


def _value(packet: Packet, field: str) -> int | None:
    if field == "seq":
        return packet.quoted.seq if packet.quoted else packet.seq
    return {"ack": packet.ack, "len": packet.length, "win": packet.window}[field]
