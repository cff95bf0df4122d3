"""What a scenario expects of the wire and of the kernel, held against packets, states, queues, counters and accept().

`sanity` comes first and needs no expectation: whether the captures may be believed at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from chaos import lookup as naming
from chaos import wire as language
from chaos.conversation import contradictions, direction, flows, opener
from chaos.evidence import losses
from chaos.findings import Finding, mismatch, unknown

if TYPE_CHECKING:
    from chaos.conversation import Flow
    from chaos.evidence import Accept, Evidence
    from chaos.packets import Packet
    from chaos.scenario import Accepted, Expect

_SEGMENTS = ("tcp", "udp", "raw")
_TABLES = ("TcpExt", "Tcp", "IpExt", "Ip", "Icmp", "IcmpMsg", "Udp", "MPTcpExt", "")


def sanity(evidence: Evidence) -> Iterator[Finding]:
    """Lost packets, a capture of another node, numbers that do not follow, a success that left no handshake."""
    for where, what in losses(evidence.lost):
        yield unknown(where, what)
    for node, packets in evidence.packets.items():
        yield from (unknown(f"capture at {node}", problem) for problem in contradictions(packets))
        if not _is_from(node, packets, evidence):
            yield unknown(f"capture at {node}", "the client's segments go the wrong way for this node")
    for problem in naming.contradictions(evidence.lookups):
        yield unknown(f"capture at {evidence.client}", problem)
    at_client = evidence.packets.get(evidence.client)
    if evidence.outcome.error == "ok" and at_client is not None:
        yield from (unknown(f"capture at {evidence.client}", doubt) for doubt in _unreached(evidence, at_client))


def _unreached(evidence: Evidence, packets: Sequence[Packet]) -> Iterator[str]:
    """Why the client cannot be ok: what it says to have done is not on the wire. Of no wire nothing is asked."""
    if evidence.local or evidence.outcome.looped:
        return
    if evidence.type == "stream":
        if not any(flow.final_ack for flow in flows(packets)):
            yield "the client says ok, and no handshake was completed"
        return
    ways = {direction(packet, opener(packets)) for packet in packets if packet.icmp is None}
    for call, way, what in (("send", ">", "sent"), ("recv", "<", "received")):
        if call in evidence.outcome.calls and way not in ways:
            yield f"the client says ok, and nothing was {what}"


def _is_from(node: str, packets: tuple[Packet, ...], evidence: Evidence) -> bool:
    """Whether the client's segments leave the client and enter the server; other nodes see them both ways."""
    if node not in (evidence.client, evidence.server):
        return True
    client = opener(packets)
    sent = [packet for packet in packets if packet.protocol in _SEGMENTS and direction(packet, client) == ">"]
    return all(packet.outgoing == (node == evidence.client) for packet in sent)


def wire(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """The whole conversation at each node that the scenario names."""
    for node, lines in expect.wire.items():
        if node not in evidence.packets:
            yield unknown(f"wire at {node}", "nothing was captured there")
            continue
        patterns = [language.parse(line) for line in lines]
        for problem in language.match(patterns, evidence.packets[node]):
            yield Finding("FAIL", f"wire at {node}: {problem}")


def lookup(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """All DNS messages of the client."""
    if expect.lookup:
        for problem in naming.match([naming.parse(line) for line in expect.lookup], evidence.lookups):
            yield Finding("FAIL", f"lookup: {problem}")


def queues(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """The accept queue and its limit."""
    for node, wanted in expect.queues.items():
        got = evidence.queues.get(node)
        if got is None:
            yield unknown(f"queues at {node}", "the listener's queue was not read")
            continue
        for name in ("accept", "backlog"):
            if getattr(wanted, name) not in (None, getattr(got, name)):
                yield mismatch(f"queues.{name} at {node}", getattr(wanted, name), getattr(got, name))


def kernel(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """By how much the kernel's counters rose."""
    for node, counters in expect.kernel.items():
        deltas = evidence.kernel.get(node)
        for name, wanted in counters.items():
            field = f"kernel.{name} at {node}"
            full = counter(name, deltas) if deltas is not None else []
            if deltas is None:
                yield unknown(field, "the counters were not read")
            elif len(full) != 1:
                yield unknown(
                    field, f"several counters have this name: {', '.join(full)}" if full else "no such counter"
                )
            elif deltas[full[0]] not in wanted:
                yield mismatch(field, wanted, deltas[full[0]])


def counter(name: str, deltas: Mapping[str, int]) -> list[str]:
    """The counters that are meant: the full name of nstat(8), or one without its table (`ListenOverflows`)."""
    return [name] if name in deltas else [table + name for table in _TABLES if table + name in deltas]


def accepted(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """What accept() returned, and when, for every connection that was established at the listener's node."""
    if expect.accepted is None:
        return
    if evidence.server not in evidence.packets:
        yield unknown("accepted", f"nothing was captured at {evidence.server}")
        return
    established = [flow for flow in flows(evidence.packets[evidence.server]) if flow.final_ack]
    if not established:
        yield mismatch("accepted", "a connection", "none that was established")
    for flow in established:
        yield from _accepted(expect.accepted, flow, evidence)


def local(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """The client's own address and port: what getsockname() told it, what the packets carry, and who chose the port."""
    if expect.local is None:
        return
    found = flows(evidence.packets.get(evidence.client, ()))
    outcome = evidence.outcome
    if outcome.local is None or evidence.ephemeral is None or not (found or outcome.looped):
        yield unknown("local", "the client's own end was not read, or sent nothing")
        return
    (address, port), (low, high) = outcome.local, evidence.ephemeral
    if expect.local.peer == "itself" and not outcome.looped:
        yield mismatch("local.peer", "itself", outcome.peer or "no other end")
    key = found[-1].key if found else None
    if key is not None and (address, port) != (key.client, key.client_port):
        yield mismatch("local", f"{key.client} port {key.client_port}, as in the packets", f"{address} port {port}")
    if expect.local.port == "ephemeral" and not low <= port <= high:
        yield mismatch("local.port", f"one of {low}..{high}", port)
    if expect.local.port not in ("ephemeral", port):
        yield mismatch("local.port", expect.local.port, port)


def _accepted(wanted: Accepted, flow: Flow, evidence: Evidence) -> Iterator[Finding]:
    peers = {(one.peer[0].removeprefix("::ffff:"), one.peer[1]): one for one in evidence.accepts}
    got = peers.get((flow.key.client, flow.key.client_port))
    if got is None:
        told = ", ".join(f"{address} port {port}" for address, port in peers) or "no accept() that returned"
        yield mismatch("accepted.peer", f"{flow.key.client} port {flow.key.client_port}", told)
        return
    if wanted.fd is not None and (got.fd == got.listener_fd or got.fd < 0):
        yield mismatch("accepted.fd", "a new descriptor", f"{got.fd}, the listener's")
    if wanted.after is not None:
        yield from _after_ack(got, flow)


def _after_ack(got: Accept, flow: Flow) -> Iterator[Finding]:
    """accept() was waiting when the final ACK came, and returned behind it."""
    final = flow.final_ack
    if final is None:
        return
    for name, time_ns, agrees in (
        ("entered before", got.entered_ns, got.entered_ns < final.time_ns),
        ("returned after", got.returned_ns, got.returned_ns >= final.time_ns),
    ):
        if not agrees:
            late = (time_ns - final.time_ns) / 1e6
            yield mismatch("accepted.after", f"accept() {name} the final ACK", f"{late:+.3f} ms from it")
