"""Conversations to test with, written down instead of captured: `talk("> syn", "< syn-ack", "> ack")`.

The numbers are a real TCP's: the client's SYN has seq j, the target's SYN-ACK seq k; a line may set its time (`@1500`,
in ms; otherwise a millisecond after the line before) and its payload (`+5`, in bytes).
"""

from __future__ import annotations

from typing import Any

from chaos.packets import Packet, Quoted

CLIENT, TARGET, ROUTER = "198.18.1.2", "198.18.2.2", "198.18.1.1"
PORT, SPORT = 8080, 40001
J, K = 1000, 7000
T0 = 1_700_000_000_000_000_000

FLAGS = {
    "syn": {"SYN"},
    "syn-ack": {"SYN", "ACK"},
    "ack": {"ACK"},
    "data": {"PSH", "ACK"},
    "fin": {"FIN", "ACK"},
    "rst": {"RST"},
}


def talk(*lines: str, sport: int = SPORT, j: int = J, k: int = K, at: str = "client") -> tuple[Packet, ...]:
    """The packets of these lines, as captured at the client or, `at="server"`, at the target."""
    clock, said, packets = -1.0, {">": j, "<": k}, []
    for index, line in enumerate(lines):
        way, name, *extra = line.split()
        clock = next((float(word[1:]) for word in extra if word[0] == "@"), clock + 1)
        length = next((int(word[1:]) for word in extra if word[0] == "+"), 5 if name == "data" else 0)
        common: dict[str, Any] = {
            "time_ns": T0 + round(clock * 1e6),
            "outgoing": (way == ">") == (at == "client"),
            "frame": index,
        }
        if name.startswith("icmp:"):
            packets.append(icmp(name, common, sport, j))
            continue
        packets.append(tcp(way, name, length, common, sport, said, (j, k)))
        if name != "syn" and name != "rst":
            said[way] = max(said[way] + (name in ("fin",)), (j, k)[way == "<"] + 1) + length
    return tuple(packets)


def tcp(
    way: str, name: str, length: int, common: dict[str, Any], sport: int, said: dict[str, int], first: tuple[int, int]
) -> Packet:
    """One segment: (re)transmitted SYNs and SYN-ACKs have the first number, an RST to a SYN seq 0."""
    other = "<" if way == ">" else ">"
    refusal = name == "rst" and way == "<" and said["<"] == first[1]
    seq = first[way == "<"] if name in ("syn", "syn-ack") else 0 if refusal else said[way]
    ack = 0 if name == "syn" else max(said[other], first[other == "<"] + 1)
    ends = (CLIENT, TARGET, sport, PORT) if way == ">" else (TARGET, CLIENT, PORT, sport)
    flags = frozenset(FLAGS[name] | ({"ACK"} if refusal else set()))
    return Packet(
        **common, src=ends[0], dst=ends[1], sport=ends[2], dport=ends[3], protocol="tcp",
        seq=seq % 2**32, ack=ack % 2**32, flags=flags, length=length, payload=b"x" * length,
    )  # fmt: skip


def icmp(name: str, common: dict[str, Any], sport: int, j: int) -> Packet:
    """An ICMP error of the router about the SYN."""
    kind, _, code = name.removeprefix("icmp:").partition("/")
    quoted = Quoted(CLIENT, sport, TARGET, PORT, j)
    return Packet(**common, src=ROUTER, dst=CLIENT, protocol="icmp", icmp=(int(kind), int(code)), quoted=quoted)
