"""How an attempt will end, from the faults' effects and the kernel's schedule: what explain tells and a test holds to.

The walk is a handshake's: the call itself, the SYN through every node to the target, the SYN-ACK back, the ACK, and
then the steps of our `socket` client, or a library's request and answer. What a program or a function of the user's
makes of an established connection is its own affair, and not foretold. The errors are Linux's (icmp.py, ip(7));
nothing of it is looked up in what a scenario expects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from chaos.afterwards import Afterwards
from chaos.arrival import Arrival, Handshake
from chaos.backends.canned import FRESH
from chaos.backends.compressed import JIFFY, UNIT
from chaos.backends.netns import specify
from chaos.clients.socket import Socket
from chaos.datagrams import datagrams, locally
from chaos.effect import Effect
from chaos.icmp import errno_name
from chaos.itself import called, itself
from chaos.model import ROUTER, Client, Setting
from chaos.named import chosen, resolved
from chaos.prediction import Event, Prediction
from chaos.relayed import GIVEN_UP, relayed
from chaos.scenario import Case
from chaos.schedule import SECOND, Schedule, Unit, from_sysctls, window

__all__ = ["Prediction", "effects", "predict", "schedule", "sysctls"]

HURRIED = 0.4
"""Seconds by which a program may miss its own time-out: its clock is its own, and may start before the SYN is sent."""

AT_ONCE = ("abort", "close", "forget", "never-accept")
"""What our listener does to a connection that leaves no timer running but the client's."""

SLOW = 0.001
"""Seconds beyond a round trip from which a handshake has been slow."""


def effects(case: Case) -> list[Effect] | None:
    """What each fault does, in their order; None when one does not say (a fault of the user's own)."""
    told = [getattr(fault, "effect", None) for _, fault in case.faults]
    return [effect(case.setting) for effect in told if effect] if all(told) else None


def schedule(setting: Setting, client: Client | None = None) -> Schedule:
    """When an unanswered SYN is sent again at this case's client, by the sysctls that its namespace will have.

    What the socket client's own options say stands above them.
    """
    unit = Unit(UNIT * JIFFY, JIFFY) if setting.timing == "compressed" else SECOND
    own = client.overrides if isinstance(client, Socket) else {}
    return from_sysctls({**sysctls(setting), **own}, unit)


def sysctls(setting: Setting) -> dict[str, str]:
    """The sysctls of the schedule: a new namespace's, where this kernel has them, and what the lab writes over them."""
    fresh = {name: value for name, value in FRESH.items() if Path("/proc/sys", name).exists()}
    nodes = {node["name"]: node for node in specify(setting, list(setting.topology.services))["nodes"]}
    written = dict(nodes[setting.client]["sysctls"])
    return {name.rpartition("/")[2]: written.get(name, value) for name, value in fresh.items()}


def predict(case: Case) -> Prediction:
    """The end of the case's attempt."""
    told = effects(case)
    if told is None:
        return Prediction(())
    client, setting = case.client, case.setting
    if not isinstance(client, Socket):
        return _hurried(chosen(resolved(Walk(case, told).connect(), setting, told), setting, told), case)
    if (mistake := itself(client, setting)) is not None:
        return mistake
    if setting.local:
        return locally(client, setting, told)
    if setting.type != "stream":
        return resolved(datagrams(client, setting, told), setting, told)
    return _hurried(resolved(called(client, setting, Walk(case, told).connect()), setting, told), case)


def _hurried(kernels: Prediction, case: Case) -> Prediction:
    """The client's own clock may end before the kernel does."""
    timeout = _timeout(case)
    connects = kernels.connected is not None
    due = kernels.elapsed[0] if kernels.connected is None else kernels.connected
    if timeout is None or timeout >= due or (not connects and kernels.phase not in ("connect", None)):
        return kernels
    plan = schedule(case.setting, case.client)
    sent = sum(at < timeout for at in plan.sends)
    wire = (f"> syn x{sent}",) if connects or kernels.wire == (_syns(plan),) else kernels.wire
    events = [event for event in kernels.events if event[0] is None or event[0] < timeout]
    events.append((timeout, "the client's own clock ends: it gives up, and no errno was ever set"))
    early = 0.0 if isinstance(case.client, Socket) else HURRIED
    within = (max(0.0, window(timeout)[0] - early), timeout + HURRIED)
    return Prediction(("timeout",), "connect", within, wire, tuple(events))


def _syns(plan: Schedule) -> str:
    """All SYNs of a schedule; a busy machine may skip some when the intervals are but a few ticks."""
    count = len(plan.sends)
    return f"> syn x1..{count}" if plan.unit.compressed else f"> syn x{count}"


def _timeout(case: Case) -> float | None:
    if isinstance(case.client, Socket) and case.client.mode == "blocking":
        return None
    return getattr(case.client, "timeout", None)


class Walk:
    """One handshake, node by node."""

    def __init__(self, case: Case, told: Iterable[Effect]) -> None:
        self._case, self._setting = case, case.setting
        self._effects = [relayed(effect, case.setting) for effect in told]
        self._schedule = schedule(case.setting, case.client)
        middle = [ROUTER] if self._setting.path == "routed" else []
        self._path = [self._setting.client, *middle, self._setting.target.node]
        self._rtt = self._setting.rtt if middle else 0.0
        self._handshake = Handshake(self._effects, self._path, self._schedule, self._rtt)

    def connect(self) -> Prediction:
        """The call, the SYN, the SYN-ACK; then what comes afterwards."""
        for effect in self._effects:
            if effect.errno and not effect.behind:
                return self._unsent(effect, effect.errno)
        met, arrival = self._handshake.taker("> syn"), self._handshake.arrival()
        if met is not None and met.answer and self._error(met) is not None:
            return self._refused(met)
        if arrival.at is not None:
            return self._established(arrival)
        if met is not None:
            sent = met.at != self._setting.client
            return self._unanswered(met, arrival.lines if met.answer and sent else None, sent=sent)
        unheard = self._handshake.taker("< syn-ack")
        return self._unheard(unheard) if unheard else self._too_late(arrival)

    def _unsent(self, effect: Effect, errno: str) -> Prediction:
        """Nothing leaves the client. Its SYN schedule runs all the same, and may end before connect() is told."""
        low, high = window(effect.delay)
        lookup = effect.phase == "resolve"
        call = "getaddrinfo()" if lookup else "bind()" if errno == "EADDRINUSE" else "connect()"
        story: Event = (effect.delay, f"{effect.says}; nothing is sent to the target, {call} returns {errno}")
        if lookup or high < self._schedule.window[0]:
            return Prediction((errno,), effect.phase, (low, high), (), (story,))
        end: Event = (
            self._schedule.gives_up,
            "the SYN schedule ends as well: whichever is first, ETIMEDOUT if it is this",
        )
        within = (min(low, self._schedule.window[0]), max(high, self._schedule.window[1]))
        return Prediction((errno, "ETIMEDOUT"), "connect", within, (), (story, end))

    def _error(self, met: Effect) -> str | None:
        """What connect() returns after this answer to a SYN; None when it waits on."""
        protocol = "icmpv6" if self._setting.family == "ipv6" else "icmp"
        numbers = (met.answer or "").partition(":")[2].split("/")
        return "ECONNREFUSED" if met.answer == "rst" else errno_name(protocol, *map(int, numbers))

    def _refused(self, met: Effect) -> Prediction:
        """The SYN is answered with a RST or an ICMP error that ends the connect."""
        error = self._error(met)
        at = met.delay + self._way_to(met.at)
        busy = met.answer != "rst" and self._way_to(met.at) == 0.0
        if busy and len(self._schedule.sends) > 1:
            at = self._schedule.sends[1]
        soon = 0.0 if busy else at
        if error is None or at >= self._schedule.gives_up:
            return self._unanswered(met, None, sent=True)
        lines = ["> syn", f"< {met.answer}"] if met.at != self._setting.client else []
        lines += ["..."] if busy and lines else []
        events: list[Event] = [(0.0, f"the client sends a SYN; {met.says}")]
        if busy:
            events.append(
                (0.0, "the answer comes while connect() is busy: unless it is late, the kernel only keeps it in mind")
            )
            events.append((at, "the SYN is sent again, and answered again"))
        events.append((at, f"the client's kernel has the answer: connect() returns {error}"))
        within = (window(soon)[0], window(at + self._rtt)[1])
        return Prediction((error,), "connect", within, tuple(lines), tuple(events))

    def _way_to(self, node: str) -> float:
        """Seconds until an answer of this node's is back: the wire is in front of the router's rules, and behind."""
        return {self._setting.client: 0.0, ROUTER: self._rtt / 2}.get(node, self._rtt)

    def _unanswered(self, met: Effect, lines: tuple[str, ...] | None, *, sent: bool) -> Prediction:
        """Silence, or answers that end nothing (`lines`): the kernel's own schedule decides."""
        lines = lines or ((_syns(self._schedule),) if sent else ())
        return self._gives_up(lines, self._retries(f"the client sends a SYN; {met.says}"))

    def _unheard(self, met: Effect) -> Prediction:
        """The target answers, and the answer does not arrive. Each SYN draws a SYN-ACK, and so does its own timer."""
        at_client = met.at == self._setting.client
        lines = ("> syn", "< syn-ack", "...") if at_client or met.broken else (_syns(self._schedule),)
        story = f"the client sends a SYN, the target answers with a SYN-ACK; {met.says}"
        return self._gives_up(lines, self._retries(story))

    def _retries(self, first: str) -> Iterator[Event]:
        yield 0.0, first
        for at in self._schedule.sends[1:]:
            yield at, "the SYN is sent again, and fares no better"

    def _too_late(self, arrival: Arrival) -> Prediction:
        """Everything arrives, and the SYN-ACK when the kernel has given up."""
        return self._gives_up(arrival.lines, self._retries("the client sends a SYN, whose answer is too late"))

    def _gives_up(self, lines: tuple[str, ...], events: Iterable[Event]) -> Prediction:
        end: Event = (self._schedule.gives_up, "the kernel gives up: connect() returns ETIMEDOUT")
        return Prediction(("ETIMEDOUT",), "connect", self._schedule.window, lines, (*events, end))

    def _established(self, arrival: Arrival) -> Prediction:
        """The SYN-ACK is there. What comes next is a matter of the steps, if they are known."""
        assert arrival.at is not None
        crossing = next((effect for effect in self._effects if effect.peer == "crossing"), None)
        after = Afterwards(self._setting, self._effects, self._path)
        played = as_steps(self._case.client)
        if played is not None:
            errors, phase, story = after.play(played)
            if self._setting.proxied and errors == ("hang",):
                errors = (*errors, *GIVEN_UP)  # if the proxy's own dialling ends first
        else:
            errors, phase, story = (() if after.disturbed else ("ok",)), None, []
        told: tuple[Event, ...] = tuple((None, text) for text in story)
        if crossing:
            met: Event = (0.0, f"the client sends a SYN; {crossing.says}: the SYNs cross")
            return Prediction(errors, phase, (0.0, None), ("> syn", "< syn", "..."), (met, *told))
        within = self._lasts(errors, played, arrival.at) if played else (window(arrival.at)[0], None)
        lines = after.wire(self._case.client, arrival.lines)
        return Prediction(errors, phase, within, lines, (*self._opening(arrival.at), *told), arrival.at)

    def _lasts(self, errors: tuple[str, ...], client: Socket, connected: float) -> tuple[float, float | None]:
        """A hang outlasts the kernel's schedule, a time-out is the client's own; what our listener ends, ends at once.

        What Toxiproxy or a fault on the way makes of the time is not foretold.
        """
        low = window(connected)[0]
        if errors == ("hang",):
            return self._schedule.gives_up, None
        if errors == ("timeout",) and client.timeout is not None:
            return low + window(client.timeout)[0], window(connected)[1] + client.timeout + HURRIED
        if self._setting.proxied or any(effect.peer not in AT_ONCE for effect in self._effects):
            return low, None
        return low, self._rtt * len(client.steps) + SECOND.rto

    def _opening(self, at: float) -> Iterator[Event]:
        """The handshake, for people: with what befell it where it took longer than a round trip."""
        yield 0.0, "the client sends a SYN, and the target answers with a SYN-ACK"
        for effect in self._effects if at > self._rtt + SLOW else ():
            if {"> syn", "< syn-ack"} & {*effect.meets, *effect.slows} and not effect.behind:
                yield None, effect.says
        yield at, "the client has a SYN-ACK, acknowledges it, and is ESTABLISHED: connect() returns"


def as_steps(client: Client) -> Socket | None:
    """The client as steps of our own: a library that speaks HTTP sends and receives; of a program nobody knows."""
    if isinstance(client, Socket):
        return client
    timeout = getattr(client, "timeout", None)
    mode: Literal["blocking", "timeout"] = "blocking" if timeout is None else "timeout"
    library = getattr(type(client), "speaks", None) == "http"
    return Socket(client.node, mode, timeout) if library else None
