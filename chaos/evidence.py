"""Everything that a run knows about its attempt, and what the packets add to what the client said.

`Evidence` is data alone; `check` holds it against an expectation. `settle` fills in what a client does not say: a
program that prints a sentence and exits 7 names no errno, but its packets do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chaos import lookup
from chaos.conversation import Flow, direction, flows, opener, segment
from chaos.icmp import errno_name
from chaos.lookup import Message
from chaos.model import ROUTER, Outcome, Phase, Type
from chaos.neighbours import NEIGHBOURS
from chaos.packets import Frame, Packet
from chaos.schedule import Schedule

CLEAN = ("ok", "no-verdict")
"""Outcomes of a client that did not say it failed: nothing may be derived over them."""
FULL = (
    "the kernel had no room in them {count} times, and dropped packets of whatever lab; run fewer labs at once, or "
    "raise net.ipv4.neigh.default.gc_thresh3 (of ipv6 likewise) on this host"
)


@dataclass(frozen=True)
class StateLog:
    """The TCP states that a node's sampler saw: (time in ns, state) at each change, and its longest hole in seconds."""

    seen: tuple[tuple[int, str], ...]
    gap_s: float

    @property
    def states(self) -> list[str]:
        """The states in order; one that was seen twice in a row is told once."""
        names = [name for _, name in self.seen]
        return [name for number, name in enumerate(names) if number == 0 or names[number - 1] != name]


@dataclass(frozen=True)
class QueueLength:
    """A listener's accept queue: connections in it (Recv-Q), and its limit (Send-Q)."""

    accept: int
    backlog: int


@dataclass(frozen=True)
class Accept:
    """One accept(2) of our listener that returned: when, which descriptors, and the peer's address and port."""

    entered_ns: int
    returned_ns: int
    fd: int
    listener_fd: int
    peer: tuple[str, int]


@dataclass(frozen=True)
class Evidence:
    """What was observed of one attempt. Mappings are by node, and lack the nodes that were not observed.

    client, server: the nodes that dial and that listen. proxy: the Toxiproxy between them, if there is one.
    packets: the attempt's conversation (conversation.py): the client's with its target, and behind a proxy at the
        server the proxy's with the server. attempt: all packets of its window, ARP too.
    every: the frames of all legs, for the pcapng. lost: frames that a node's capture lost, and the router's wire; and
        those, of whatever lab, that the host's NEIGHBOURS had no room for.
    kernel: differences of the counters, named as nstat(8) names them.
    lookups: the client's DNS messages, where names come from DNS.
    ephemeral: the client's net.ipv4.ip_local_port_range, both ends included.
    type: of the sockets; when they are `local`, there is nothing to capture.
    """

    outcome: Outcome
    client: str
    packets: Mapping[str, tuple[Packet, ...]]
    every: Mapping[str, tuple[Frame, ...]] = field(default_factory=dict)
    attempt: Mapping[str, tuple[Packet, ...]] = field(default_factory=dict)
    states: Mapping[str, StateLog] = field(default_factory=dict)
    queues: Mapping[str, QueueLength] = field(default_factory=dict)
    kernel: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    accepts: tuple[Accept, ...] = ()
    lost: Mapping[str, int] = field(default_factory=dict)
    server: str = "server"
    ephemeral: tuple[int, int] | None = None
    proxy: str | None = None
    type: Type = "stream"
    local: bool = False
    lookups: tuple[Message, ...] = ()

    def leg(self, node: str) -> tuple[Packet, ...]:
        """The conversation in which this node is an end, as the one who dialled it sees it, or as the server does."""
        return self.packets[node if self.proxy is not None and node == self.server else self.client]


def losses(lost: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Where packets were lost that no fault has dropped, and how many."""
    for node, count in lost.items():
        if count and node == NEIGHBOURS:
            yield NEIGHBOURS, FULL.format(count=count)
        elif count:
            yield "the wire" if node == ROUTER else f"capture at {node}", f"{count} packets lost"


def settle(
    outcome: Outcome, packets: Sequence[Packet], schedule: Schedule | None = None, lookups: Sequence[Message] = ()
) -> Outcome:
    """The outcome with `elapsed`, `error` and `phase` filled in from the conversation at the client's node.

    What the client said is never changed, and a client that exits 0 is never made to have failed. The error stays
    None when the packets do not tell it either. By `schedule` the kernel's ETIMEDOUT is told from the `timeout` of a
    client that gave up first. `lookups` are the questions and answers that came before.
    """
    if outcome.elapsed is None:
        outcome = replace(outcome, elapsed=_elapsed(outcome, packets, lookups))
    if outcome.error is None and outcome.exit == 0:
        outcome = replace(outcome, error="no-verdict")
    if outcome.error is None:
        error = _error(outcome, packets, schedule) if packets else lookup.error(lookups)
        outcome = replace(outcome, error=error, error_from="wire")
    if outcome.phase is None and outcome.error not in CLEAN:
        outcome = replace(outcome, phase=_phase(outcome.error, packets, lookups))
    return outcome


def _elapsed(outcome: Outcome, packets: Sequence[Packet], lookups: Sequence[Message]) -> float:
    client = opener(packets)
    sent = [message.time_ns for message in lookups if message.way == ">"]
    sent += [packet.time_ns for packet in packets if direction(packet, client) == ">"]
    return (outcome.returned_ns - outcome.waited_ns - min(sent, default=outcome.started_ns)) / 1e9


def _phase(error: str | None, packets: Sequence[Packet], lookups: Sequence[Message]) -> Phase:
    """Where it ended. Who sent data waits for the answer; EPIPE is an answer to send alone (send(2))."""
    found = flows(packets)
    if not found and ((error or "").startswith("EAI_") or lookup.error(lookups)):
        return "resolve"
    if not found or deciding(found).final_ack is None:
        return "connect"
    return "send" if error == "EPIPE" else "receive"


def _error(outcome: Outcome, packets: Sequence[Packet], schedule: Schedule | None) -> str | None:
    found = flows(packets)
    if not found:
        return None
    flow = deciding(found)
    if flow.final_ack is not None:
        return _established_error(flow)
    answers = [packet for packet in flow.packets if _is_refusal(packet, flow)]
    if not answers:
        return _timeout(outcome, flow, schedule)
    last_syn = max((packet.time_ns for packet in flow.of(">", "syn")), default=0)
    # A SYN behind an RST shows that RSTs do not reach the socket, and one behind the last answer that this one did
    # not: something else ended the connect, and the packets do not tell what.
    unheard = [answer for answer in answers if answer.time_ns < last_syn and answer.icmp is None]
    return None if unheard or answers[-1].time_ns < last_syn else _refusal(answers[-1])


def deciding(found: Sequence[Flow]) -> Flow:
    """The 4-tuple whose end the client surfaces: of attempts that follow one another the last, of a race the winner.

    Attempts race when one is established after a later one was begun (RFC 8305); the loser is given up silently.
    """
    last = found[-1]
    winners = [flow for flow in found if flow.final_ack and flow.final_ack.time_ns > last.packets[0].time_ns]
    return winners[-1] if winners else last


def _is_refusal(packet: Packet, flow: Flow) -> bool:
    return flow.direction(packet) == "<" and _refusal(packet) is not None


def _refusal(packet: Packet) -> str | None:
    """The errno that this answer to a SYN gives to connect(), or None when it ends none."""
    if packet.icmp is not None:
        return errno_name(packet.protocol, *packet.icmp)
    return "ECONNREFUSED" if segment(packet) == "rst" else None


def _timeout(outcome: Outcome, flow: Flow, schedule: Schedule | None) -> str | None:
    """Of unanswered SYNs: the kernel's ETIMEDOUT, or `timeout` of a client that returned before the kernel could."""
    syns = flow.of(">", "syn")
    if not syns:
        return None
    waited = (outcome.returned_ns - syns[0].time_ns) / 1e9
    return "timeout" if schedule is not None and waited < schedule.window[0] else "ETIMEDOUT"


def _established_error(flow: Flow) -> str | None:
    """A RST behind a FIN is EPIPE (net/ipv4/tcp_input.c, tcp_reset, of a socket in CLOSE_WAIT)."""
    resets, ends = flow.of("<", "rst"), flow.of("<", "fin")
    if resets:
        return "EPIPE" if ends and ends[0].time_ns < resets[0].time_ns else "ECONNRESET"
    return "eof" if ends else None
