"""What a rule of the wire does to a segment that it takes: one class an action, `act(frame, segment, now)`.

An action returns what becomes of the frame: none, one or several, each with the seconds by which it is late. `beside`
is asked of every other segment; only what holds one back for another has something to say there.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from chaos.agent import damage, icmp
from chaos.agent.segment import ETHERNET, Segment, names


class Late(NamedTuple):
    """A frame, and by how many seconds more than half a round trip it is late."""

    frame: bytes
    seconds: float = 0.0


class Action(Protocol):
    """What is done to the segments of a rule."""

    def act(self, frame: bytes, segment: Segment, now: float) -> list[Late]: ...

    def beside(self, frame: bytes, segment: Segment) -> list[Late]: ...


class Pass:
    """Touches nothing; the base of what lets other segments pass."""

    def beside(self, frame: bytes, segment: Segment) -> list[Late]:
        return [Late(frame)]


class Drop(Pass):
    """It vanishes."""

    def act(self, frame: bytes, segment: Segment, now: float) -> list[Late]:
        return []


class Delay(Pass):
    """It is late by so many seconds; what comes behind it may overtake it."""

    def __init__(self, by: float) -> None:
        self._by = by

    def act(self, frame: bytes, segment: Segment, now: float) -> list[Late]:
        return [Late(frame, self._by)]


class Duplicate(Pass):
    """It comes twice, at once."""

    def act(self, frame: bytes, segment: Segment, now: float) -> list[Late]:
        return [Late(frame), Late(frame)]


class Reorder:
    """It is held until the next segment of its connection and direction has passed."""

    def __init__(self) -> None:
        self._held: dict[tuple[object, ...], bytes] = {}

    def act(self, frame: bytes, segment: Segment, now: float) -> list[Late]:
        if segment[:5] in self._held:
            return self.beside(frame, segment)
        self._held[segment[:5]] = frame
        return []

    def beside(self, frame: bytes, segment: Segment) -> list[Late]:
        held = self._held.pop(segment[:5], None)
        return [Late(frame)] if held is None else [Late(frame), Late(held)]


class Meet:
    """A SYN is held until one comes from its other end, so that the two cross; or until its own end's SYN-ACK follows,
    which has met one further on.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[object, ...], bytes] = {}

    def act(self, frame: bytes, segment: Segment, now: float) -> list[Late]:
        self._held[segment[:5]] = frame
        return []

    def beside(self, frame: bytes, segment: Segment) -> list[Late]:
        version, src, dst, sport, dport = segment[:5]
        releases = {"syn": (version, dst, src, dport, sport), "syn-ack": segment[:5]}
        held = next((self._held.pop(releases[name], None) for name in names(segment) & releases.keys()), None)
        return [Late(frame)] if held is None else [Late(held), Late(frame)]


class Corrupt(Pass):
    """A bit is flipped, or the checksum is wrong; which one, the seed decides."""

    def __init__(self, what: str, seed: int) -> None:
        self._damage = {"bit": damage.flipped, "checksum": damage.miscounted}[what]
        self._chance = random.Random(seed)

    def act(self, frame: bytes, segment: Segment, now: float) -> list[Late]:
        return [Late(self._damage(frame, segment, self._chance))]


class Truncate(Pass):
    """Its end is cut off."""

    def __init__(self, keep: int) -> None:
        self._keep = keep

    def act(self, frame: bytes, segment: Segment, now: float) -> list[Late]:
        return [Late(damage.cut(frame, segment, self._keep))]


class Bandwidth(Pass):
    """A link of so many bytes a second each way, and a queue before it; what finds the queue full vanishes."""

    def __init__(self, rate: int, queue: int) -> None:
        self._rate, self._queue = rate, queue
        self._free: dict[bytes, float] = {}

    def act(self, frame: bytes, segment: Segment, now: float) -> list[Late]:
        size = segment.end - ETHERNET
        starts = max(now, self._free.get(segment.src, now))
        if (starts - now) * self._rate + size > self._queue:
            return []
        self._free[segment.src] = ends = starts + size / self._rate
        return [Late(frame, ends - now)]


class Icmp(Pass):
    """It goes no further, and its sender gets an ICMP error about it.

    sources: {the sender's address: the address of who answers it}; a host answers from the address that was sent to.
    """

    def __init__(self, type: int, code: int, mtu: int, sources: Mapping[str, str]) -> None:  # noqa: A002 (RFC 792)
        self._message = (type, code, mtu)
        self._sources = {packed(sender): packed(source) for sender, source in sources.items()}

    def act(self, frame: bytes, segment: Segment, now: float) -> list[Late]:
        source = self._sources.get(segment.src, segment.dst)
        return [Late(icmp.error(frame, segment, source, *self._message))]


def packed(address: str) -> bytes:
    """An address as its bytes."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


ACTIONS: Mapping[str, Callable[..., Action]] = {
    "drop": Drop,
    "delay": Delay,
    "duplicate": Duplicate,
    "reorder": Reorder,
    "meet": Meet,
    "corrupt": Corrupt,
    "truncate": Truncate,
    "bandwidth": Bandwidth,
    "icmp": Icmp,
}


def action(do: str, **said: Any) -> Action:
    """The action of this name, with its parameters."""
    return ACTIONS[do](**said)
