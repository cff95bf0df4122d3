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
    clock, first, said, packets = -1.0, {">": j, "<": k}, {">": j + 1, "<": k + 1}, []
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
        answered = any("syn-ack" in line for line in lines[:index])
        seq = first[way] if name in ("syn", "syn-ack") else 0 if name == "rst" and not answered else said[way]
        ack = 0 if name == "syn" else said["<" if way == ">" else ">"]
        packets.append(tcp(way, name, seq, ack, length, sport, common))
        said[way] += length + (name == "fin")
    return tuple(packets)


def tcp(way: str, name: str, seq: int, ack: int, length: int, sport: int, common: dict[str, Any]) -> Packet:
    """One segment; an RST with seq 0, which answers a SYN, has ACK too."""
    src, sport_, dst, dport = (CLIENT, sport, TARGET, PORT) if way == ">" else (TARGET, PORT, CLIENT, sport)
    flags = FLAGS[name] | ({"ACK"} if name == "rst" and seq == 0 else set())
    return Packet(
        src=src,
        dst=dst,
        protocol="tcp",
        sport=sport_,
        dport=dport,
        seq=seq % 2**32,
        ack=ack % 2**32,
        flags=frozenset(flags),
        length=length,
        payload=b"x" * length,
        **common,
    )


def icmp(name: str, common: dict[str, Any], sport: int, j: int) -> Packet:
    """An ICMP error of the router about the SYN."""
    kind, _, code = name.removeprefix("icmp:").partition("/")
    quoted = Quoted(CLIENT, sport, TARGET, PORT, j)
    return Packet(**common, src=ROUTER, dst=CLIENT, protocol="icmp", icmp=(int(kind), int(code)), quoted=quoted)
