"""Names looked up by DNS: the messages in a capture, a language for them, and what getaddrinfo() makes of them.

    > server                  asked for an address of this name    (x2, x1..3 and x1.. count, as on the wire)
    < server ok               answered with addresses              (ok, nodata, nxdomain, servfail, refused, truncated)
    > AAAA server             asked for the IPv6 address, and A for the other
    > server tcp              asked over TCP; without `tcp` it is UDP
    < any                     one message, whatever it is
    ...                       anything, also nothing

Where every line names its type, the lines of a type are held against the messages of that type alone: a client that
wants both asks both questions at once, and whose answer comes first says nothing.

The messages are dnslib's to read. Times are nanoseconds of CLOCK_REALTIME.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from chaos import wire
from chaos.conversation import Client, Direction
from chaos.fields import NODE_NAME
from chaos.packets import Packet
from chaos.pattern import COUNT, Bindings, Term, counted
from chaos.suggest import did_you_mean

PORT = 53
TIMEOUT, ATTEMPTS = 1, 2
"""The lab's resolv.conf(5): seconds that glibc waits for an answer, at least 1, and how often it asks.

The real defaults, 5 and 2, would make it 10 s until a lookup that nobody answers ends.
"""
TYPES = ("A", "AAAA")
ANSWERS = ("ok", "nodata", "nxdomain", "servfail", "refused", "truncated")
RCODES = {0: "ok", 2: "servfail", 3: "nxdomain", 5: "refused"}
"""RFC 1035, section 4.1.1."""
ERRORS = {"nxdomain": "EAI_NONAME", "nodata": "EAI_NODATA"}
"""What getaddrinfo() says to an answer that ends a lookup; of any other, and of none, it is EAI_AGAIN (glibc)."""


@dataclass(frozen=True)
class Message:
    """One DNS message. `answer` is empty for a question, else one of ANSWERS or `rcode:N`; `name` has no final dot."""

    time_ns: int
    way: Direction
    number: int
    name: str
    type: str
    tcp: bool
    answer: str = ""
    addresses: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = (self.way, self.type, self.name, self.answer, "tcp" if self.tcp else "")
        return " ".join(filter(None, words))


def messages(packets: Iterable[Packet], resolver: str) -> tuple[Message, ...]:
    """The DNS messages to and from this address, in order of time; what is no message is left out."""
    found: list[Message] = []
    streams: dict[tuple[str, int, str, int], _Stream] = {}
    for packet in packets:
        if resolver not in (packet.src, packet.dst) or PORT not in (packet.sport, packet.dport):
            continue
        way: Direction = ">" if packet.dst == resolver else "<"
        if packet.protocol == "tcp":
            stream = streams.setdefault((packet.src, packet.sport, packet.dst, packet.dport), _Stream())
            for data in stream.add(packet):
                found += _read(data, packet.time_ns, way, tcp=True)
        elif packet.protocol == "udp":
            found += _read(packet.payload, packet.time_ns, way, tcp=False)
    return tuple(found)


class _Stream:
    """One direction of a TCP connection, in order: each message has its length before it (RFC 1035, 4.2.2)."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._data = b""

    def add(self, packet: Packet) -> Iterator[bytes]:
        """The messages that this segment completes; one that was seen before completes none."""
        if self._next not in (None, packet.seq) or not packet.payload:
            return
        self._next = (packet.seq + len(packet.payload)) % 2**32
        self._data += packet.payload
        while len(self._data) >= 2 and len(self._data) >= (end := 2 + int.from_bytes(self._data[:2], "big")):
            yield self._data[2:end]
            self._data = self._data[end:]


def _read(data: bytes, time_ns: int, way: Direction, *, tcp: bool) -> Iterator[Message]:
    import dnslib

    try:
        record = dnslib.DNSRecord.parse(data)
    except dnslib.DNSError:
        return
    kind = dnslib.QTYPE[record.q.qtype]
    addresses = tuple(str(one.rdata) for one in record.rr if dnslib.QTYPE[one.rtype] in TYPES)
    answer = _answer(record.header, addresses) if record.header.qr else ""
    name = str(record.q.qname).rstrip(".")
    yield Message(time_ns, way, record.header.id, name, kind, tcp, answer, addresses)


def _answer(header: object, addresses: Sequence[str]) -> str:
    rcode, cut = int(getattr(header, "rcode", 0)), bool(getattr(header, "tc", 0))
    if cut:
        return "truncated"
    if rcode == 0 and not addresses:
        return "nodata"
    return RCODES.get(rcode, f"rcode:{rcode}")


@dataclass(frozen=True)
class Line:
    """One line of the language, for wire.follow. `way` is None for `...`."""

    text: str
    way: Direction | None
    type: str | None = None
    name: str | None = None
    answer: str | None = None
    tcp: bool = False
    low: int = 1
    high: int | None = 1
    fields: tuple[tuple[str, Term], ...] = ()

    def accepts(self, message: Message, client: Client, bound: Bindings) -> Bindings | None:  # noqa: ARG002
        """The bindings (there are none) if this message is what the line says, else None."""
        if self.way is None:
            return bound
        if message.way != self.way:
            return None
        if self.name is None:
            return bound
        alike = (message.name, message.tcp) == (self.name, self.tcp)
        alike = alike and self.type in (None, message.type) and self.answer in (None, message.answer)
        return bound if alike else None


def parse(line: str) -> Line:
    """One line of the language. Raises ValueError with what is wrong and what was probably meant."""
    words = line.split()
    if words == ["..."]:
        return Line("...", None, low=0, high=None)
    if len(words) < 2 or words[0] not in (">", "<"):
        raise ValueError(f"expected '> NAME', '< NAME ANSWER' or '...', got {line!r}")
    way: Direction = ">" if words[0] == ">" else "<"
    rest, low, high = words[1:], 1, 1
    if COUNT.fullmatch(rest[-1]):
        low, high = counted(rest.pop())  # type: ignore[assignment]
    if rest == ["any"]:
        return Line(line, way, low=low, high=high)
    tcp = rest[-1:] == ["tcp"]
    kind = rest[0] if rest[:1] and rest[0] in TYPES else None
    name, *answer = rest[1 if kind else 0 : -1 if tcp else None] or [""]
    if not re.match(NODE_NAME, name):
        raise ValueError(f"{line!r} does not say which name is looked up: `{way} server`")
    if len(answer) > 1 or (answer and (way == ">" or answer[0] not in ANSWERS)):
        raise ValueError(f"{line!r}: {_stray(way, answer)}")
    return Line(" ".join(words), way, kind, name, answer[0] if answer else None, tcp, low, high)


def _stray(way: Direction, words: Sequence[str]) -> str:
    if way == ">":
        return f"a question has no {words[0]!r}"
    return f"an answer is one of {', '.join(ANSWERS)}, not {words[-1]!r}{did_you_mean(words[-1], ANSWERS)}"


def match(lines: Sequence[Line], found: Sequence[Message]) -> list[str]:
    """`expected X, got Y` of the first message that fits no reading; empty when they match."""
    if any(line.type is None for line in lines):
        return _in_order(lines, found)
    types = dict.fromkeys([*(line.type for line in lines), *(message.type for message in found)])
    return [
        problem
        for kind in types
        for problem in _in_order([it for it in lines if it.type == kind], [it for it in found if it.type == kind])
    ]


def _in_order(lines: Sequence[Line], found: Sequence[Message]) -> list[str]:
    return wire.follow(lines, found, frozenset(), lambda message, _: str(message))


def render(found: Sequence[Message]) -> list[str]:
    """The messages as lines that match them."""
    runs = ((line, len(list(run))) for line, run in groupby(map(str, found)))
    return [line if count == 1 else f"{line} x{count}" for line, count in runs]


def error(found: Sequence[Message]) -> str | None:
    """What getaddrinfo() says when this was all that was asked and answered; None when an address was found."""
    answers = [message.answer for message in found if message.way == "<"]
    if not found or "ok" in answers:
        return None
    return ERRORS.get(answers[-1], "EAI_AGAIN") if answers else "EAI_AGAIN"


def delays(found: Sequence[Message]) -> list[float]:
    """Seconds from each question to its answer; one that was asked again counts from the first time."""
    asked: dict[tuple[int, str, bool], int] = {}
    taken = []
    for message in found:
        place = (message.number, message.type, message.tcp)
        if message.way == ">":
            asked.setdefault(place, message.time_ns)
        elif place in asked:
            taken.append((message.time_ns - asked[place]) / 1e9)
    return taken


def contradictions(found: Sequence[Message]) -> Iterator[str]:
    """Why these cannot be all the messages: an answer to a question that was not seen."""
    asked = {(message.number, message.type, message.name) for message in found if message.way == ">"}
    for message in found:
        if message.way == "<" and (message.number, message.type, message.name) not in asked:
            yield f"an answer, `{message}`, and no question before it"
