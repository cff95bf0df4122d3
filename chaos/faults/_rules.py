"""Which segments a packet fault means, as iptables rules of a node or as a rule of the wire; armed one by one.

At an end node a segment on its way to the target passes INPUT of the target or OUTPUT of the client. The router sees
each packet twice, on the way into the wire and out of it: iptables rules match the second time, `-i wire0`, so that
what the router answers has spent half a round trip.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chaos.model import ROUTER, Lab, Node, Setting
from chaos.ranges import CountRange

FORTH, BACK = "to the target", "from the target"
FLAGS = {
    "syn": "SYN,ACK,RST,FIN SYN",
    "syn-ack": "SYN,ACK,RST,FIN SYN,ACK",
    "ack": "SYN,ACK,RST,FIN ACK",
    "data": "SYN,RST NONE",
    "fin": "SYN,RST,FIN FIN",
    "rst": "RST RST",
}
FIREWALL = ("program:iptables", "match:comment")
"""What every rule of ours requires."""
REJECT = "target:REJECT"
PROTOCOLS = {"stream": "tcp", "datagram": "udp", "raw": "253"}
"""Of the sockets' types; 253 is what our raw sockets speak (RFC 3692), without ports."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Rules:
    """Rules that are in force in one node."""

    node: Node
    tool: str
    rules: tuple[tuple[str, ...], ...]
    table: str = "filter"

    def hits(self) -> int:
        """Packets matched until now."""
        counts: list[int] = self.node.call("firewall", tool=self.tool, do="count", rules=self.rules, table=self.table)
        return sum(counts)


@contextmanager
def armed(node: Node, family: str, rules: Sequence[Sequence[str]], table: str = "filter") -> Iterator[Rules]:
    """Add rules in a node, each with a comment of its own; delete exactly these on leaving."""
    tool = "iptables" if family == "ipv4" else "ip6tables"
    named = tuple((*rule, "-m", "comment", "--comment", f"chaos-{next(_numbers)}") for rule in rules)
    keys = [("firewall", tool, table, *rule) for rule in rules]
    known = [node.learnt[key] for key in keys if key in node.learnt]
    like = {"like": known} if len(known) == len(keys) else {}
    learnt = node.call("firewall", tool=tool, do="add", rules=named, table=table, **like)
    node.learnt.update(zip(keys, learnt or (), strict=False))
    try:
        yield Rules(node, tool, named, table)
    finally:
        node.call("firewall", tool=tool, do="delete", rules=named, table=table)


def default_port(setting: Setting, at: str) -> int:
    """The port on which `at` itself listens on this path, else the target's."""
    if at == setting.target.node:
        return setting.target.port
    if at == setting.listen.node:
        return setting.listen.port
    return setting.target.port


@dataclass(frozen=True)
class Selection:
    """Which segments: `from_` and `to` are node names; without them both directions of the port.

    nth, larger: on the wire alone, which can count and measure (chaos/agent/rules.py).
    """

    at: str
    segments: tuple[str, ...]
    port: int | None = None
    from_: str | None = None
    to: str | None = None
    nth: CountRange | None = None
    larger: int | None = None

    def match(self, lab: Lab) -> dict[str, Any]:
        """The same as a rule of the wire says it (chaos/agent/rules.py)."""
        return {
            "version": 4 if lab.setting.family == "ipv4" else 6,
            "segments": [*self.segments],
            "port": self.goal_port(lab.setting),
            "from": lab.nodes[self.from_].address if self.from_ else None,
            "to": lab.nodes[self.to].address if self.to else None,
            "larger": self.larger,
            "nth": [self.nth.low, self.nth.high] if self.nth else [1, None],
        }

    def goal_port(self, setting: Setting) -> int:
        """The port of the end that is dialled."""
        return self.port or default_port(setting, self.at)

    def sends(self, setting: Setting) -> list[str]:
        """The kinds of these segments that the end node `at` itself sends."""
        ways = [(segment, way) for segment in self.segments for way in directions(segment)]
        return [segment for segment, way in ways if self._chain(setting, way) == ("OUTPUT",)]

    def rules(self, lab: Lab, verdict: Sequence[str], only: str | None = None) -> list[tuple[str, ...]]:
        """One rule for each kind of segment and direction in which it goes; of one chain alone, if it is named."""
        port = self.goal_port(lab.setting)
        return [
            (
                *self._chain(lab.setting, way),
                *self._ends(lab),
                *self._matches(segment, way, port, lab.setting),
                *verdict,
            )
            for segment in self.segments
            for way in directions(segment)
            if only in (None, self._chain(lab.setting, way)[0])
        ]

    def _matches(self, segment: str, way: str, port: int, setting: Setting) -> tuple[str, ...]:
        if setting.type == "stream":
            return matches(segment, way, port, setting.family)
        ports = ("--dport" if way == FORTH else "--sport", str(port)) if setting.type == "datagram" else ()
        return ("-p", PROTOCOLS[setting.type], *ports)

    def meets(self, setting: Setting) -> tuple[str, ...]:
        """Which segments of the attempt's path these are, as `> syn`."""
        port = self.goal_port(setting)
        goal = setting.listen if self.behind(setting) else setting.target
        if port != goal.port or self.at not in (self.dialler(setting), ROUTER, goal.node):
            return ()
        every = FLAGS if setting.type == "stream" else ("data",)
        kinds = [kind for segment in self.segments for kind in (every if segment == "any" else (segment,))]
        return tuple(
            f"{'>' if way == FORTH else '<'} {kind}"
            for kind in kinds
            for way in directions(kind)
            if self._selects(setting, way)
        )

    def _selects(self, setting: Setting, way: str) -> bool:
        ends = (self.dialler(setting), self.end(setting))
        ends = ends if way == FORTH else ends[::-1]
        return self.from_ in (None, ends[0]) and self.to in (None, ends[1])

    def end(self, setting: Setting) -> str:
        """The node that the connection ends at of which these are segments."""
        return setting.listen.node if self.behind(setting) else setting.target.node

    def behind(self, setting: Setting) -> bool:
        """Whether that is the connection that a Toxiproxy makes, and not the client's."""
        port = self.goal_port(setting)
        far = self.at == setting.listen.node or port == setting.listen.port != setting.target.port
        return setting.proxied and far

    def dialler(self, setting: Setting) -> str:
        """The node that has made the connection."""
        return setting.target.node if self.behind(setting) else setting.client

    def _chain(self, setting: Setting, way: str) -> tuple[str, ...]:
        if self.at == ROUTER:
            return ("FORWARD", "-i", "wire0")
        return ("INPUT",) if (way == FORTH) == (self.at != self.dialler(setting)) else ("OUTPUT",)

    def _ends(self, lab: Lab) -> tuple[str, ...]:
        source = ("-s", lab.nodes[self.from_].address) if self.from_ else ()
        return (*source, *(("-d", lab.nodes[self.to].address) if self.to else ()))


def required(segments: Sequence[str]) -> tuple[str, ...]:
    """What rules for these segments require: payload is told by a BPF program."""
    return (*FIREWALL, "match:bpf") if {"ack", "data"} & set(segments) else FIREWALL


def directions(segment: str) -> tuple[str, ...]:
    """Where a kind of segment goes: a SYN to the target, a SYN-ACK from it, the rest both ways."""
    return {"syn": (FORTH,), "syn-ack": (BACK,)}.get(segment, (FORTH, BACK))


def matches(segment: str, way: str, port: int, family: str) -> tuple[str, ...]:
    """iptables' matches for one kind of segment in one direction."""
    match = ["-p", "tcp", "--dport" if way == FORTH else "--sport", str(port)]
    if segment in FLAGS:
        match += ["--tcp-flags", *FLAGS[segment].split()]
    if segment in ("ack", "data"):
        match += ["-m", "bpf", "--bytecode", payload_program(family, empty=segment == "ack")]
    return tuple(match)


def payload_program(family: str, *, empty: bool) -> str:
    """A classic BPF program that tells segments with payload from those without, by the headers' lengths.

    Written as `iptables -m bpf --bytecode` wants it. xt_bpf runs it from the start of the IP header; A - X is
    the total length less the IP header and the TCP header (its data offset, in the upper half of byte 12).
    """
    if family == "ipv4":
        head = ["40 0 0 2", "177 0 0 0", "28 0 0 0", "2 0 0 0", "80 0 0 12"]  # M[0] = total - ihl; A = tcp[12]
    else:
        head = ["40 0 0 4", "2 0 0 0", "48 0 0 52"]  # M[0] = payload length; A = tcp[12] behind 40 bytes of IPv6
    tail = ["84 0 0 240", "116 0 0 2", "7 0 0 0", "96 0 0 0", "28 0 0 0"]  # X = (A & 0xf0) >> 2; A = M[0] - X
    end = ["21 1 0 0", "6 0 0 65535", "6 0 0 0"] if not empty else ["21 0 1 0", "6 0 0 65535", "6 0 0 0"]
    program = [*head, *tail, *end]
    return f"{len(program)},{','.join(program)}"
