"""Mutants of a scenario: the same case with one thing wrong that must not go unnoticed (docs: "no wrong green").

A mutation of the *run* changes the frozen Case, wraps one of its faults, or wraps the backend; each needs a lab of
its own. A mutation of the *evidence* is a pure one: `check` is called again on what one true run has seen; or, for the
fault that is removed, on what an attempt has seen whose fault was armed when it had returned. Nothing here reaches into
the product: faults see a lab through the protocol of chaos.model, and that is where we stand.

    control             nothing is wrong: PASS
    fault removed       the network is healthy
    another port        the fault is real and acts on a port that nobody dials
    bystander           the fault is real and acts at a third node, off the path
    armed too late      the fault is armed when the attempt has returned
    no listener         nobody ever listened, so that the right error comes for the wrong reason
    another type        who listens has a socket of another type than the one that dials
    own doing undone    the client's own options, privileges or steps are an ordinary client's
    first step gone     nothing is wrong with the network: the step is missing that the failing one needs
    failing step gone   nothing is wrong with the network: the step is missing that would fail
    another errno       the expectation names an error that did not come
    wrong node          healthy: another node's capture is shown as the client's
    segment lost        healthy: one segment of the handshake is missing from the evidence
    j off, k off        healthy: a sequence number of the SYN, of the SYN-ACK, is off by one
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from chaos.backends.lab import AgentLab, OurListener
from chaos.check import Leg, Verdict, check
from chaos.clients.socket import Socket
from chaos.conversation import segment
from chaos.errors import LabError
from chaos.evidence import Evidence
from chaos.faults._wire import OnTheWire
from chaos.model import ROUTER, Armed, Endpoint, Fault, Lab, Listener, Service, Setting
from chaos.packets import Packet
from chaos.run import Backend, Result
from chaos.scenario import Case

BYSTANDER = "bystander"
OFF_PATH = (
    "route", "no-neighbour", "link-down", "wrong-address", "dead-address", "dns", "no-descriptors", "asymmetric-route",
    "duplicate-address", "socket-file",
)  # fmt: skip
"""Faults of a node's way and not of a port's."""


@dataclass(frozen=True)
class Mutant:
    """One mutation of one case: what to run, or what to ask of the result of the control or `of` another mutant, or why
    it does not apply.
    """

    case: Case
    mutation: str
    run: tuple[Case, Callable[[Backend], Backend]] | None = None
    ask: Callable[[Result], list[tuple[str, Verdict]]] | None = None
    of: Mutant | None = None
    why_not: str | None = None


def mutants(case: Case) -> Iterator[Mutant]:
    """The control, then every mutation, in the order of this module's text."""
    yield Mutant(case, "control", run=(case, _as_it_is))
    yield from _of_faults(case)
    yield Mutant(case, "no listener", run=(case, WithoutListener))
    yield from _of_the_client(case)
    yield Mutant(case, "another errno", ask=_another_errno)
    healthy: dict[str, Callable[[Result], list[tuple[str, Verdict]]]]
    healthy = {"wrong node": _wrong_node, "segment lost": _segment_lost, "j off": _j_off, "k off": _k_off}
    for name, ask in healthy.items():
        if case.faults:
            yield Mutant(case, name, why_not="not a healthy network")
        elif (not case.expect.wire and (case.setting.local or case.expect.error != "ok")) or _is_silent(case):
            yield Mutant(case, name, why_not="nothing is on the wire")
        elif name.endswith("off") and case.setting.type != "stream":
            yield Mutant(case, name, why_not="a datagram has no sequence number")
        elif name.endswith("off") and not _shakes_hands(case):
            yield Mutant(case, name, why_not="no whole handshake")
        else:
            yield Mutant(case, name, ask=ask)


def _of_faults(case: Case) -> Iterator[Mutant]:
    if not case.faults:
        names = ("fault removed", "another port", "bystander", "armed too late")
        yield from (Mutant(case, name, why_not="no fault") for name in names)
        return
    late = _faulted(case, "armed too late", Late)
    yield Mutant(case, "fault removed", ask=_without_faults, of=late)
    if case.setting.type == "raw" or all(kind in OFF_PATH for kind, _ in case.faults):
        yield Mutant(case, "another port", why_not="the fault knows no port")
    else:
        yield _faulted(case, "another port", _elsewhere)
    yield _faulted(replace(case, setting=_with_bystander(case)), BYSTANDER, _beside)
    yield late


def _faulted(case: Case, name: str, wrap: Callable[[Fault], Fault]) -> Mutant:
    faults = tuple((kind, wrap(fault)) for kind, fault in case.faults)
    return Mutant(case, name, run=(replace(case, faults=faults), _as_it_is))


def _is_silent(case: Case) -> bool:
    """Whether the scenario says that nothing is on the wire."""
    return case.expect.wire.get(case.setting.client) == ()


def _shakes_hands(case: Case) -> bool:
    """Whether the client expects to be answered, or does not look at the wire."""
    lines = case.expect.wire.get(case.setting.client)
    return lines is None or any(line.startswith("< syn-ack") for line in lines)


def _of_the_client(case: Case) -> Iterator[Mutant]:
    """What the client does to itself, not done."""
    setting, client = case.setting, case.client
    if setting.local or setting.type != "stream":
        yield Mutant(case, "another type", run=(case, OfAnotherType))
    else:
        yield Mutant(case, "another type", why_not="TCP")
    names = ("own doing undone", "first step gone", "failing step gone")
    if not isinstance(client, Socket):
        yield from (Mutant(case, name, why_not="not our socket") for name in names)
        return
    ordinary = replace(client, options=Socket().options, privileges="all", bind=client.healthy().bind)
    ordinary = ordinary if case.faults else client.healthy()
    run = None if ordinary == client else (replace(case, client=ordinary), _as_it_is)
    yield Mutant(case, names[0], run=run, why_not=None if run else "an ordinary client")
    failing = len(client.steps) if case.expect.step is None else case.expect.step
    for name, steps in zip(names[1:], (client.steps[1:], client.steps[: failing - 1]), strict=True):
        if case.faults or case.expect.error == "ok":
            yield Mutant(case, name, why_not="the network's doing")
        else:
            yield Mutant(case, name, run=(replace(case, client=replace(client, steps=steps)), _as_it_is))


def _as_it_is(backend: Backend) -> Backend:
    return backend


# -- the run: faults that miss


def _with_bystander(case: Case) -> Setting:
    """One more node: another Toxiproxy in front of the same server, another DNS server, if a fault is inside one."""
    setting = case.setting
    proxy = (setting.target.port, Endpoint(setting.listen.node, setting.listen.port))
    inside = any(kind in ("toxic", "proxy-down") for kind, _ in case.faults)
    asked = any(kind == "dns" for kind, _ in case.faults)
    beside = Service(BYSTANDER, proxy=proxy if inside else None, resolver=asked)
    services = {**setting.topology.services, BYSTANDER: beside}
    return replace(setting, topology=replace(setting.topology, services=services))


def _elsewhere(fault: Fault) -> Fault:
    """The same fault, which takes the next port for the one that is dialled."""
    port = getattr(fault, "port", None)
    if port is not None:
        fault = cast("Fault", replace(cast("Any", fault), port=port + 1))
    return Aside(fault, lambda setting: setting.listen.node, 1)


def _beside(fault: Fault) -> Fault:
    """The same fault at the bystander, whose listener it takes for ours; a fault of the wire is of its segments."""
    where = "to" if isinstance(fault, OnTheWire) else "at"
    names = {field.name for field in fields(cast("Any", fault))}
    assert where in names, f"{type(fault).__name__} has no `{where}`"
    return Aside(cast("Fault", replace(cast("Any", fault), **{where: BYSTANDER})), lambda setting: BYSTANDER, 0)


@dataclass(frozen=True)
class Aside:
    """A fault that is shown a lab in which the listener is at another node or port."""

    fault: Fault
    node: Callable[[Setting], str]
    offset: int

    @property
    def at(self) -> str:
        return str(getattr(self.fault, "at", ""))

    def inject(self, lab: Lab) -> AbstractContextManager[Armed]:
        setting = lab.setting
        listen = replace(setting.listen, node=self.node(setting), port=setting.listen.port + self.offset)
        target = replace(setting.target, port=setting.target.port + self.offset)
        bound = setting.bound and setting.bound + self.offset
        mistaken = replace(setting, listen=listen, target=target, bound=bound)
        return self.fault.inject(cast("Lab", SquintingLab(lab, mistaken)))


class SquintingLab:
    """A lab as a fault sees it that has mistaken the listener; a listener that it replaces is one of its own."""

    def __init__(self, lab: Lab, setting: Setting) -> None:
        self._lab, self.setting = lab, setting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lab, name)

    def proxy(self, node: str) -> Any:
        """The node's own; where the port is mistaken, another proxy of the same Toxiproxy, which nobody dials."""
        real: Any = self._lab.proxy(node)
        port = self.setting.target.port
        return real if port == real.listen[1] else real.beside(port)

    @contextmanager
    def listening(self, *, do: str, **behaviour: Any) -> Iterator[Listener | None]:
        if do == "absent":
            yield None  # where nobody has ever listened
            return
        listen = self.setting.listen
        node = self._lab.nodes[listen.node]
        asked: dict[str, Any] = {"backlog": listen.backlog, "speaks": listen.speaks, "after": "accept", "fill": 0}
        asked |= {"kind": self.setting.type, "port": listen.port, "do": do, **behaviour}
        address = self.setting.pathname if self.setting.local else node.address
        listener = OurListener(cast("Any", node), {"address": address, **asked})
        try:
            yield listener
        finally:
            listener.end()


@dataclass(frozen=True)
class Late:
    """A fault that is armed when its hits are asked for: the attempt has returned."""

    fault: Fault

    @property
    def at(self) -> str:
        return str(getattr(self.fault, "at", ""))

    @contextmanager
    def inject(self, lab: Lab) -> Iterator[Armed]:
        with ExitStack() as undo:
            yield _TooLate(lambda: undo.enter_context(self.fault.inject(lab)))


class _TooLate:
    def __init__(self, arm: Callable[[], Armed]) -> None:
        self._arm = arm
        self._armed: Armed | None = None

    def hits(self) -> int:
        try:
            self._armed = self._arm()
        except LabError:
            return 0  # what the client holds by now, nobody else can take
        return self._armed.hits()

    def unproven(self, evidence: Evidence) -> str | None:
        return self._armed.unproven(evidence) if self._armed else "it could not be armed any more"


class WithoutListener:
    """A backend whose labs have no listener."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @contextmanager
    def start(self, setting: Setting) -> Iterator[AgentLab]:
        with self._backend.start(setting) as lab, lab.listening(do="absent"):
            yield lab


class OfAnotherType:
    """A backend in whose labs streams listen for datagrams, and a datagram socket waits for streams."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @contextmanager
    def start(self, setting: Setting) -> Iterator[AgentLab]:
        kind = "datagram" if setting.type == "stream" else "stream"
        with self._backend.start(setting) as lab, lab.listening(do="serve", kind=kind):
            yield lab


# -- the expectation and the evidence: `check` once more


def _again(result: Result, evidence: Evidence | None = None, **expect: Any) -> Verdict:
    assert result.evidence is not None
    wanted, well = replace(result.case.expect, **expect), Leg(ok=True)
    return check(wanted, evidence or result.evidence, result.faults, well, well, result.schedule)


def _without_faults(result: Result) -> list[tuple[str, Verdict]]:
    return [("an attempt without it", _again(replace(result, faults=())))]


def _another_errno(result: Result) -> list[tuple[str, Verdict]]:
    names = {"ok", "timeout", "eof", "hang", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"}
    return [(name, _again(result, error=name)) for name in sorted(names - {result.case.expect.error})]


def _with(result: Result, packets: Mapping[str, Any]) -> Verdict:
    assert result.evidence is not None
    return _again(result, replace(result.evidence, packets={**result.evidence.packets, **packets}))


def _wrong_node(result: Result) -> list[tuple[str, Verdict]]:
    """The captures of both ends exchanged; each end's in the place of the other; one that has seen nothing."""
    assert result.evidence is not None
    client, server = result.evidence.client, result.evidence.server
    theirs, ours = result.evidence.packets[server], result.evidence.packets[client]
    return [
        ("exchanged", _with(result, {client: theirs, server: ours})),
        (f"{server} for {client}", _with(result, {client: theirs})),
        (f"{client} for {server}", _with(result, {server: ours})),
        (f"{ROUTER} or nobody", _with(result, {client: ()})),
    ]


def _segment_lost(result: Result) -> list[tuple[str, Verdict]]:
    """Each segment of the handshake, all data that is acknowledged later, and each DNS message, where it looks."""
    assert result.evidence is not None
    found = []
    for node in result.case.expect.wire or [result.evidence.client]:
        packets = result.evidence.packets[node]
        for index, packet in enumerate(packets):
            bare = segment(packet) == "ack" and not result.case.expect.wire  # the next segment says the same
            if (index < 3 and not bare) or _acknowledged(packet, packets):
                less = (*packets[:index], *packets[index + 1 :])
                found.append((f"{segment(packet)} {index} at {node}", _with(result, {node: less})))
    lookups = result.evidence.lookups if result.case.expect.lookup else ()
    for index, message in enumerate(lookups):
        less_said = replace(result.evidence, lookups=(*lookups[:index], *lookups[index + 1 :]))
        found.append((f"message {index}, {message}", _again(result, less_said)))
    return found


def _acknowledged(packet: Packet, packets: Sequence[Packet]) -> bool:
    """Whether this segment's last byte was acknowledged (RFC 9293, section 3.4), and no other one carried any of it."""
    end = packet.seq + packet.length
    answers = [it for it in packets if it.src == packet.dst and "ACK" in it.flags and it.time_ns >= packet.time_ns]
    return (
        packet.length > 0 and not _repeated(packet, packets) and any((it.ack - end) % 2**32 < 2**31 for it in answers)
    )


def _repeated(packet: Packet, packets: Sequence[Packet]) -> bool:
    """Whether bytes of this segment are in another one, as on a busy machine that sends again what was not lost."""
    others = [it for it in packets if it is not packet and it.src == packet.src and it.length]
    return any(
        (packet.seq - it.seq) % 2**32 < it.length or (it.seq - packet.seq) % 2**32 < packet.length for it in others
    )


def _j_off(result: Result) -> list[tuple[str, Verdict]]:
    return _numbers_off(result, "syn")


def _k_off(result: Result) -> list[tuple[str, Verdict]]:
    return _numbers_off(result, "syn-ack")


def _numbers_off(result: Result, kind: str) -> list[tuple[str, Verdict]]:
    """The sequence number of one segment, one too low and one too high, at each end."""
    assert result.evidence is not None
    found = []
    for node in (result.evidence.client, result.evidence.server):
        for offset in (-1, 1):
            packets = tuple(
                replace(packet, seq=(packet.seq + offset) % 2**32) if segment(packet) == kind else packet
                for packet in result.evidence.packets[node]
            )
            found.append((f"{offset:+d} at {node}", _with(result, {node: packets})))
    return found
