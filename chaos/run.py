"""One case from its lab to its verdict.

    lab -> baseline ok -> quiesce -> arm -> attempt -> withdraw -> quiesce -> recovery ok -> check

Hits, packets, counters and states are the attempt's alone: its 4-tuples, from its first system call to its return.
The faults' hits are read while they are still armed; what is on the wire has arrived before that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from chaos import requires
from chaos.backends.channel import Question, asked, everywhere
from chaos.backends.lab import AgentLab
from chaos.check import FaultReport, Leg, Verdict, check, invalid
from chaos.clients.socket import Socket
from chaos.conversation import conversation, datagrams, flows
from chaos.counters import Rise, Tables
from chaos.errors import InVain, LabError, ScenarioError, ToolMissing
from chaos.evidence import Accept, Evidence, QueueLength, StateLog, settle
from chaos.lookup import Message, messages
from chaos.model import RESOLVER, Armed, Client, Fault, Outcome, Setting
from chaos.packets import Frame, Packet
from chaos.scenario import Case
from chaos.schedule import Schedule, from_sysctls

BASELINE = 1.0
"""Seconds within which the network must work before anything is armed; a busy machine may miss once."""
RECOVERY = 5.0
"""Seconds within which the network must work again after the faults were withdrawn."""
AGAIN = 0.02
"""Seconds between two of these tries; what is refused is refused at once."""
UNREPEATED = 1.2
"""Seconds in which a datagram is answered or lost; the kernel asks for a neighbour a second time after one (arp(7))."""
ACCEPTED = 0.5
"""Seconds for an accept(2) that is expected to return, and has not when the attempt has."""
LANDING = 0.005
"""Seconds beyond half a round trip in which the attempt's last segments still arrive at the other end."""
SYSCTLS = ("tcp_syn_retries", "tcp_syn_linear_timeouts", "tcp_rto_max_ms")
PORTS = "net/ipv4/ip_local_port_range"


Idle = Callable[[], AbstractContextManager[None]]


class Backend(Protocol):
    """Where labs come from."""

    def start(self, setting: Setting) -> AbstractContextManager[AgentLab]:
        """A running lab for this setting."""


@dataclass(frozen=True)
class Result:
    """A case's verdict and what it rests on; `evidence` is None when there was no attempt."""

    case: Case
    verdict: Verdict
    seconds: float
    evidence: Evidence | None = None
    faults: tuple[FaultReport, ...] = ()
    frames: Mapping[str, tuple[Frame, ...]] = field(default_factory=dict)
    schedule: Schedule | None = None
    breakdown: Mapping[str, float] = field(default_factory=dict)

    @property
    def timing(self) -> str:
        """The setting's timing; where time was compressed with its scale and the SYNs that were seen."""
        if self.schedule is None or self.evidence is None or not self.schedule.unit.compressed:
            return self.case.setting.timing
        packets = self.evidence.packets[self.evidence.client]
        syns = sum(len(flow.of(">", "syn")) for flow in flows(packets))
        counted = "1 SYN" if syns == 1 else f"{syns} SYNs"
        return f"compressed (x1/{self.schedule.unit.scale:g}, {counted})"


def run(case: Case, backend: Backend, idle: Idle = nullcontext) -> Result:
    """Run a case in a fresh lab. A broken environment is an INVALID verdict; raises ToolMissing and ScenarioError.

    While inside an `idle()`, the case waits for the kernel or its client, and others may have the processor.
    """
    started = time.monotonic()
    clock = Clock()
    try:
        slow = case.setting.slow  # all legs are idle
        with backend.start(case.setting) as lab, idle() if slow else nullcontext():
            clock.lap("lab")
            result = Run(case, lab, clock, nullcontext if slow else idle).result()
    except (ToolMissing, ScenarioError):
        raise
    except (LabError, OSError) as error:
        result = Result(case, invalid(f"environment: {error}"), 0.0)
    return replace(result, seconds=time.monotonic() - started)


class Clock:
    """Where a run's time went, in seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """What passed since the last lap was this."""
        now = time.monotonic()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now


class Run:
    """The legs of one case in one lab."""

    def __init__(self, case: Case, lab: AgentLab, clock: Clock, idle: Idle = nullcontext) -> None:
        self._case, self._lab, self._clock, self._idle = case, lab, clock, idle
        self._probe = probe_of(case)
        self._in_vain: InVain | None = None

    def result(self) -> Result:
        """All legs, then the check. A failed baseline ends the run before anything is armed."""
        case, lab = self._case, self._lab
        self.require()
        baseline = self._baseline()
        if not baseline.ok:
            return self._conclude(Result(case, invalid(f"baseline: {baseline.reason}"), 0.0))
        try:
            evidence, faults, schedule = self._attempt()
        except InVain as error:
            if error is self._in_vain:  # and no fault would not go
                self._salvage()
            raise
        self._clock.lap("withdraw")
        self._quiesce()
        recovery = self.recover()
        lab.recovered = recovery.ok
        evidence = replace(evidence, lost=lab.lost)
        verdict = check(case.expect, evidence, faults, baseline, recovery, schedule)
        return self._conclude(Result(case, verdict, 0.0, evidence, tuple(faults), schedule=schedule))

    def _conclude(self, result: Result) -> Result:
        self._lab.read_captures()
        self._clock.lap("check")
        return replace(result, frames=self._lab.frames(), breakdown=self._clock.laps)

    def require(self) -> None:
        """Raise ToolMissing when the nodes lack what the faults or the client require."""
        requires.check([*(fault for _, fault in self._case.faults), self._case.client], self._lab)

    # -- the healthy legs

    def leg(self, name: str) -> Leg:
        """One healthy round trip, and its traces removed."""
        leg = self._round_trip(name)
        self._quiesce()
        return leg

    def _round_trip(self, name: str) -> Leg:
        outcome = self._probe.attempt(self._lab)
        self._clock.lap(name)
        if outcome.error == "ok":
            return Leg(ok=True)
        said = outcome.message or outcome.stderr.strip()
        got = f"the client got {outcome.error or 'an error'} on a healthy network"
        return Leg(ok=False, reason=f"{got}: {said}" if said else got)

    def _quiesce(self) -> None:
        self._lab.quiesce()
        self._clock.lap("quiesce")

    def _baseline(self) -> Leg:
        """A probe with a clock of its own may be late by that once more."""
        deadline = time.monotonic() + BASELINE + (getattr(self._probe, "timeout", None) or 0.0)
        while not (leg := self.leg("baseline")).ok and time.monotonic() < deadline:
            time.sleep(AGAIN)
        return leg

    def recover(self) -> Leg:
        """Healthy round trips until one succeeds, for five seconds. The lab ends with it: its traces stay."""
        deadline = time.monotonic() + RECOVERY
        while not (leg := self._round_trip("recovery")).ok and time.monotonic() < deadline:
            time.sleep(AGAIN)
            self._quiesce()
        return leg

    def _salvage(self) -> None:
        """After a client has waited in vain: a lab that is dear may serve on if a round trip succeeds."""
        if self._lab.dear:
            with suppress(LabError):
                self._quiesce()
                self._lab.recovered = self.recover().ok

    # -- the attempt

    def _attempt(self) -> tuple[Evidence, Sequence[FaultReport], Schedule]:
        with ExitStack() as undo:
            armed = self.arm(undo)
            evidence, schedule = self.attempt(self._case.client)
            hits = [fault.armed.hits() for fault in armed]
            self._clock.lap("evidence")
        return evidence, [fault.report(count, evidence) for fault, count in zip(armed, hits, strict=True)], schedule

    def arm(self, undo: ExitStack) -> list[InForce]:
        """Compress time if the setting says so, and arm every fault in order; `undo` withdraws them."""
        undo.enter_context(self._lab.compressed())
        faults = nested(self._case.faults)
        armed = [InForce(kind, fault, undo.enter_context(fault.inject(self._lab))) for kind, fault in faults]
        self._clock.lap("arm")
        return armed

    def attempt(self, client: Client) -> tuple[Evidence, Schedule]:
        """One attempt of a client, and what was seen of it."""
        watch = Watch(self._lab, self._case)
        with self._idle(), self._lab.waiting():
            try:
                outcome = client.attempt(self._lab)
            except InVain as error:
                self._in_vain = error
                raise
            self._clock.lap("attempt")
        self._clock.lap("turn")
        return watch.evidence(outcome), watch.schedule


@dataclass(frozen=True)
class InForce:
    """A fault that is armed."""

    kind: str
    fault: Fault
    armed: Armed

    def report(self, hits: int, evidence: Evidence) -> FaultReport:
        """What it touched in an attempt and what that evidence does not prove; asked after it was withdrawn."""
        return FaultReport(self.kind, str(getattr(self.fault, "at", None) or ""), hits, self.armed.unproven(evidence))


def nested(faults: Sequence[tuple[str, Fault]]) -> list[tuple[str, Fault]]:
    """Faults in the order in which they are armed: the scenario's, but those inside Toxiproxy first, so that they last.

    A proxy whose upstream is black-holed cannot be changed: the network is healed before Toxiproxy is touched.
    """
    return sorted(faults, key=lambda named: not getattr(named[1], "outermost", False))


def probe_of(case: Case) -> Client:
    """What makes the baseline and the recovery: the client itself, or our socket."""
    client, service = case.client, case.setting.topology.services.get(case.setting.target.node)
    if case.probe == "client" and not isinstance(client, Socket):
        return client
    probe = client.healthy() if isinstance(client, Socket) else Socket(node=client.node)
    if case.setting.type != "stream" and probe.mode == "blocking":
        probe = replace(probe, mode="timeout", timeout=UNREPEATED)  # nobody sends a datagram again
    return replace(probe, steps=("connect",)) if service is not None and service.product else probe  # it has no echo


class Watch:
    """Everything that is read around the attempt, from just before it to just after."""

    def __init__(self, lab: AgentLab, case: Case) -> None:
        self._lab, self._case = lab, case
        client, sampled = case.setting.client, case.expect.states
        names = [f"net/ipv4/{name}" for name in SYSCTLS]
        questions: dict[str, list[Question]] = {name: [] for name in (*lab.captured, *sampled)}
        questions[client].append(("sysctl", {"read": [*names, PORTS]}))
        for name in sampled:
            questions[name].append(("states", {"do": "start", "port": self._port(name)}))
        for name in lab.captured:
            questions[name].append(("counters", {}))
        self._queues: dict[str, QueueLength] = {}
        lab.at_hold = self._look
        answers = lab.mark(questions)
        self._before: dict[str, Tables] = {name: answers[name][-1] for name in lab.captured}
        values = answers[client][0]
        found = {name.rpartition("/")[2]: values[name] for name in names if name in values}
        own = case.client.overrides if isinstance(case.client, Socket) else {}
        self.schedule = from_sysctls({**found, **own}, lab.unit)
        low, high = map(int, values[PORTS].split())
        self._ephemeral = (low, high)

    def _look(self) -> None:
        """Read the queues and have every sampler look, while nothing moves."""
        self._read_queues()
        everywhere({name: self._lab.nodes[name] for name in self._case.expect.states}, "states", do="look")

    def _read_queues(self) -> None:
        path = {"path": self._case.setting.pathname} if self._case.setting.local else {}
        questions = {node: [("queue", {"port": self._port(node), **path})] for node in self._case.expect.queues}
        for node, (queue,) in asked(self._lab.nodes, self._lab.drained, questions).items():
            if queue is not None:
                self._queues[node] = QueueLength(queue["accept"], queue["backlog"])

    def _port(self, node: str) -> int:
        listen = self._case.setting.listen
        return listen.port if node == listen.node else self._case.setting.target.port

    def evidence(self, outcome: Outcome) -> Evidence:
        """What was seen of the attempt."""
        lab, setting = self._lab, self._case.setting
        lab.at_hold = lambda: None
        if self._case.expect.queues and not self._queues:
            self._read_queues()
        questions: dict[str, list[Question]] = {name: [("counters", {})] for name in lab.captured}
        for name in self._case.expect.states:
            questions.setdefault(name, []).append(("states", {"do": "stop"}))
        answers = lab.read_captures(questions)
        attempt = {node: tuple(self._window(node, outcome)) for node in lab.captured}
        packets = {node: self._conversation(node, attempt[node], outcome) for node in lab.captured}
        lookups: tuple[Message, ...] = ()
        if setting.names == "dns":
            lookups = messages(attempt[setting.client], lab.resolver(RESOLVER).address)
        return Evidence(
            outcome=settle(outcome, packets[setting.client], self.schedule, lookups),
            lookups=lookups,
            client=setting.client,
            server=setting.listen.node,
            proxy=setting.target.node if setting.proxied else None,
            packets=packets,
            attempt=attempt,
            states={node: _log(answers[node][-1]) for node in self._case.expect.states},
            queues=self._queues,
            kernel={node: Rise(before, answers[node][0]) for node, before in self._before.items()},
            ephemeral=self._ephemeral,
            type=setting.type,
            local=setting.local,
            accepts=self._accepts(outcome),
        )

    def _accepts(self, outcome: Outcome) -> tuple[Accept, ...]:
        """What accept(2) returned; a busy machine may let the server have its turn only after the client's."""
        until = time.monotonic() + ACCEPTED
        while True:
            found = tuple(_accept(each) for each in self._lab.accepts() if each["returned_ns"] >= outcome.started_ns)
            if found or self._case.expect.accepted is None or time.monotonic() > until:
                return found

    def _window(self, node: str, outcome: Outcome) -> list[Packet]:
        late = 0.0 if node == self._case.setting.client else self._lab.setting.rtt / 2 + LANDING
        until = outcome.returned_ns + int(late * 1e9)
        return [packet for packet in self._lab.seen(node) if outcome.started_ns <= packet.time_ns <= until]

    def _conversation(self, node: str, packets: Sequence[Packet], outcome: Outcome) -> tuple[Packet, ...]:
        lab, setting = self._lab, self._case.setting
        client, targets, port = lab.addresses(setting.client), lab.target_addresses, setting.target.port
        if setting.proxied and node == setting.listen.node:
            client, targets, port = lab.addresses(setting.target.node), lab.addresses(node), setting.listen.port
        until = packets[-1].time_ns if packets else outcome.returned_ns
        of_type = conversation if setting.type == "stream" else datagrams
        return of_type(packets, client, targets, port, outcome.started_ns, until)


def _log(said: Mapping[str, Any]) -> StateLog:
    return StateLog(tuple((time_ns, state) for time_ns, state in said["seen"]), said["gap_s"])


def _accept(each: Mapping[str, Any]) -> Accept:
    peer = (str(each["peer"][0]), int(each["peer"][1]))
    return Accept(each["entered_ns"], each["returned_ns"], each["fd"], each["listener_fd"], peer)
