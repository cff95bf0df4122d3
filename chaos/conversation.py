"""From the packets of a capture to the attempt's conversation: who dialled whom, and how far the handshake came.

A *conversation* is the TCP of every 4-tuple that the client opened in a window of time, and the ICMP errors that
quote it. A `Flow` is one of its 4-tuples. `>` always means client to target, `<` the other way, at every node.

Names of segments: `syn`, `syn-ack`, `ack` (ACK alone), `data` (payload, by lengths, never by PSH), `fin`, `rst`
(both with or without ACK), `icmp:TYPE/CODE`. A FIN that carries payload is named `fin` and counts as `data` too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from chaos.packets import Packet

MODULUS = 2**32
"""TCP's sequence numbers wrap here (RFC 9293, section 3.4)."""

Direction = Literal[">", "<"]
Client = frozenset[str]
"""The addresses of who dials: one, or one of each family."""


class Key(NamedTuple):
    """A 4-tuple as the client dials it."""

    client: str
    client_port: int
    target: str
    port: int


def segment(packet: Packet) -> str:
    """The one name of a packet: `syn`, `syn-ack`, `ack`, `data`, `fin`, `rst`, `icmp:3/1`, else its protocol."""
    if packet.icmp is not None and packet.protocol != "nd":
        return f"icmp:{packet.icmp[0]}/{packet.icmp[1]}"
    if packet.protocol != "tcp":
        return packet.protocol
    if "RST" in packet.flags:
        return "rst"
    if "SYN" in packet.flags:
        return "syn-ack" if "ACK" in packet.flags else "syn"
    if "FIN" in packet.flags:
        return "fin"
    if packet.length:
        return "data"
    return "ack" if "ACK" in packet.flags else "other"


def names(packet: Packet) -> frozenset[str]:
    """Every name that a packet answers to: its `segment`, and `data` for a FIN with payload."""
    name = segment(packet)
    return frozenset({name, "data"}) if name == "fin" and packet.length else frozenset({name})


def opener(packets: Sequence[Packet]) -> Client:
    """The client: who first sent a SYN, or was sent a SYN-ACK, or is quoted, in each family; else the first sender."""
    found: dict[bool, str] = {}
    for packet in packets:
        if (address := _opening(packet)) is not None:
            found.setdefault(":" in address, address)
    return frozenset(found.values()) or frozenset(packet.src for packet in packets[:1])


def _opening(packet: Packet) -> str | None:
    """The client's address, in a packet that only an opening connection has."""
    if packet.protocol == "tcp" and "SYN" in packet.flags:
        return packet.dst if "ACK" in packet.flags else packet.src
    return packet.quoted.src if packet.quoted is not None else None


def direction(packet: Packet, client: Client) -> Direction:
    """`>` from the client, `<` to it; by the destination, since a host answers itself from its own address."""
    return "<" if packet.dst in client else ">"


def key(packet: Packet, client: Client) -> Key | None:
    """The 4-tuple that a TCP segment belongs to, or that an ICMP error quotes; None for anything else."""
    if packet.quoted is not None and packet.quoted.seq is not None:
        return Key(*packet.quoted[:4])
    if packet.protocol != "tcp":
        return None
    if direction(packet, client) == ">":
        return Key(packet.src, packet.sport, packet.dst, packet.dport)
    return Key(packet.dst, packet.dport, packet.src, packet.sport)


def conversation(
    packets: Iterable[Packet], client: Client, targets: frozenset[str], port: int, start_ns: int, end_ns: int
) -> tuple[Packet, ...]:
    """What belongs to the attempt in one node's capture, in order of time.

    client, targets: addresses; port: the target's. The window is that of the *attempt at this node*: elsewhere than
    at the client, a caller adds the time that a segment takes to get there. A 4-tuple belongs from its first SYN on.
    Where no SYN can have been captured (one that the client's own OUTPUT rejected), the answer opens it: an ICMP error
    that quotes it, or an RST with seq 0, which only a segment without ACK is answered with (RFC 9293, 3.10.7.1).
    """
    opened: set[Key] = set()
    ours = []
    for packet in sorted(packets, key=lambda packet: packet.time_ns):
        if not start_ns <= packet.time_ns <= end_ns:
            continue
        tuple_ = key(packet, client)
        if tuple_ is None or tuple_.client not in client or tuple_.target not in targets or tuple_.port != port:
            continue
        if tuple_ in opened or _opens(packet, client):
            opened.add(tuple_)
            ours.append(packet)
    return tuple(ours)


def datagrams(
    packets: Iterable[Packet], client: Client, targets: frozenset[str], port: int, start_ns: int, end_ns: int
) -> tuple[Packet, ...]:
    """What belongs to an attempt without connections: datagrams between the two, and the ICMP errors that quote them.

    The arguments are those of `conversation`. A raw datagram has no port, and is ours by its addresses alone.
    """
    found = []
    for packet in sorted(packets, key=lambda packet: packet.time_ns):
        asked = packet.quoted if packet.quoted is not None and packet.quoted.seq is None else packet
        forth = asked.src in client and asked.dst in targets and asked.dport in (port, 0)
        back = asked.src in targets and asked.dst in client and asked.sport in (port, 0)
        ours = packet.protocol in ("udp", "raw") or asked is not packet
        if start_ns <= packet.time_ns <= end_ns and ours and (forth or back):
            found.append(packet)
    return tuple(found)


def _opens(packet: Packet, client: Client) -> bool:
    if packet.quoted is not None:
        return True
    if direction(packet, client) == ">":
        return segment(packet) == "syn"
    return segment(packet) == "rst" and packet.seq == 0


@dataclass(frozen=True)
class Flow:
    """One 4-tuple of a conversation: its packets at one node, in order."""

    key: Key
    packets: tuple[Packet, ...]

    def direction(self, packet: Packet) -> Direction:
        """Which way one of its packets went."""
        return direction(packet, frozenset({self.key.client}))

    def of(self, way: Direction, *segments: str) -> tuple[Packet, ...]:
        """The packets that go this way and have one of these names."""
        return tuple(p for p in self.packets if self.direction(p) == way and segment(p) in segments)

    @property
    def final_ack(self) -> Packet | None:
        """The client's first segment behind a SYN-ACK that is neither SYN nor RST: it completes the handshake."""
        answered = False
        for packet in self.packets:
            way, name = self.direction(packet), segment(packet)
            answered = answered or (way == "<" and name == "syn-ack")
            if answered and way == ">" and name in ("ack", "data", "fin"):
                return packet
        return None


def flows(packets: Sequence[Packet], client: Client = frozenset()) -> tuple[Flow, ...]:
    """A conversation by 4-tuples, in the order in which they begin. `client` is its `opener` unless given."""
    client = client or opener(packets)
    found: dict[Key, list[Packet]] = {}
    for packet in packets:
        tuple_ = key(packet, client)
        if tuple_ is not None:
            found.setdefault(tuple_, []).append(packet)
    return tuple(Flow(tuple_, tuple(listed)) for tuple_, listed in found.items())


def contradictions(packets: Sequence[Packet]) -> list[str]:
    """Why these packets cannot be the whole of what two TCPs said: a hole, or numbers that do not follow.

    Holds the handshake against RFC 9293, section 3.5: the SYN-ACK acknowledges j+1, the final ACK has seq j+1 and
    acknowledges k+1, an RST that answers a SYN acknowledges j+1 (and what a Fast Open SYN carries).
    """
    return [problem for flow in flows(packets) for problem in _contradictions(flow)]


def _contradictions(flow: Flow) -> Iterable[str]:
    expected: set[int] = set()
    for packet in flow.packets:
        way, name = flow.direction(packet), segment(packet)
        if way == ">" and name == "syn":
            expected |= {(packet.seq + 1) % MODULUS, (packet.seq + 1 + packet.length) % MODULUS}
        elif way == "<" and name == "syn-ack":
            if not expected:
                yield "a SYN-ACK and no SYN before it"
            elif packet.ack not in expected:
                yield f"a SYN-ACK with ack={packet.ack}, which answers no SYN (j+1 is {min(expected)})"
    yield from _final_ack(flow, expected)
    yield from _hole(flow, ">")
    yield from _hole(flow, "<")


def _final_ack(flow: Flow, expected: set[int]) -> Iterable[str]:
    answers, final = flow.of("<", "syn-ack"), flow.final_ack
    if not answers and flow.of(">", "ack", "data", "fin"):
        yield "a segment of an established connection and no SYN-ACK before it"
    elif final is not None and expected:
        if final.seq not in expected:
            yield f"a final ACK with seq={final.seq}, which follows no SYN (j+1 is {min(expected)})"
        if final.ack not in {(answer.seq + 1) % MODULUS for answer in answers}:
            yield f"a final ACK with ack={final.ack}, which answers no SYN-ACK (k+1 is {answers[0].seq + 1})"


def _hole(flow: Flow, way: Direction) -> Iterable[str]:
    """Bytes that the other end acknowledged, and that no captured segment carried.

    Sound at either end: what a host sends is captured before it is answered, what it receives before it answers.
    """
    opening = flow.of(way, "syn" if way == ">" else "syn-ack")
    if len({packet.seq for packet in opening}) != 1:
        return  # none was captured, which _contradictions() tells, or two connections of one 4-tuple
    first, reach, acknowledged = opening[0].seq + 1, 0, 0
    carried = [it for it in flow.packets if flow.direction(it) == way and (it.length or "FIN" in it.flags)]
    for packet in sorted(carried, key=lambda packet: _offset(packet.seq, first)):
        start = _offset(packet.seq + ("SYN" in packet.flags), first)
        if start <= reach:
            reach = max(reach, start + packet.length + ("FIN" in packet.flags))
    for packet in flow.packets:
        if flow.direction(packet) != way and "ACK" in packet.flags and "RST" not in packet.flags:
            acknowledged = max(acknowledged, _offset(packet.ack, first))
    if acknowledged > reach:
        yield f"{acknowledged} bytes of {way} are acknowledged, and only {reach} were captured without a hole"


def _offset(number: int, first: int) -> int:
    """A sequence number as bytes behind the first, negative when it lies before it (RFC 9293, section 3.4)."""
    return (number - first + MODULUS // 2) % MODULUS - MODULUS // 2
