"""What becomes of an established connection under the faults' effects, step by step of the `socket` client.

A connection is whole, or its peer has closed (FIN), aborted or forgotten it (RST). A segment that will come may not
have come yet; the steps `hold` and `wait` make sure that it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from chaos.clients.socket import Socket, Step, To, Wait
from chaos.effect import Effect
from chaos.icmp import errno_name
from chaos.model import Client, Phase, Setting

Coming = Literal["rst", "fin", "either"]
SENDS: Mapping[str, Coming] = {"abort": "rst", "close": "fin"}
RECEIVED = {"rst": ("ECONNRESET",), "fin": ("eof",), "either": ("eof", "ECONNRESET")}
"""What recv() says to what has come: of a FIN and a RST behind it, whichever it meets first."""

BUFFERS = 6 << 20
"""Bytes that both kernels together hold of a stream which nobody reads, at most (tcp_wmem, and a default tcp_rmem)."""
PROBES = 9
"""net.ipv4.tcp_keepalive_probes, unless TCP_KEEPCNT says otherwise."""

FINE: tuple[tuple[str, ...], Phase | None] = (("ok",), None)
Ending = tuple[tuple[str, ...], Phase | None, list[str]]


def since_connect(steps: Sequence[Step]) -> Sequence[Step]:
    """The steps behind the first that connects."""
    first = next(number for number, step in enumerate(steps) if step in ("connect", "start") or isinstance(step, To))
    return steps[first + 1 :]


class Afterwards:
    """The connection from the SYN-ACK on."""

    def __init__(self, setting: Setting, effects: Sequence[Effect], path: Sequence[str]) -> None:
        self._setting, self._effects, self._path = setting, effects, path
        self._coming: Coming | None = None
        self._arrived = False
        self._sent = 0
        self._answered = False
        self._lost = False
        self._gone = False
        self._shut = False
        self._story: list[str] = []

    @property
    def disturbed(self) -> bool:
        """Whether anything is wrong with it at all."""
        return any(effect.peer or effect.meets for effect in self._effects)

    def play(self, client: Socket) -> Ending:
        """(errors, phase, what happens) of the client's steps after `connect`."""
        if (met := self._met("> ack")) is not None and met.answer == "rst":
            self._tell(f"{met.says}: the final ACK draws a RST")
            steps = since_connect(client.steps)
            errors = ("ECONNRESET",) if "recv" in steps else ("ok", "ECONNRESET")
            return errors, None, self._story
        if met is not None:
            self._tell(f"{met.says}: the target is still in SYN_RECV, and sends its SYN-ACK again")
        self._happens("accept")
        endings = (self._step(step, client) for step in since_connect(client.steps))
        ending = next((ending for ending in endings if ending is not None), FINE)
        soft = self._soft(met, client)
        return (*ending[0], *soft), None if soft else ending[1], self._story

    def _soft(self, met: Effect | None, client: Socket) -> tuple[str, ...]:
        """An ICMP error on an established connection ends nothing, but SO_ERROR tells of it (tcp(7), ip(7))."""
        if met is None or met.answer is None or client.mode == "blocking":
            return ()
        self._tell("the ICMP error ends nothing; but a client that asks for SO_ERROR after its connect() may see it")
        protocol = "icmpv6" if self._setting.family == "ipv6" else "icmp"
        error = errno_name(protocol, *map(int, met.answer.partition(":")[2].split("/")))
        return (error,) if error else ()

    def _step(self, step: object, client: Socket) -> tuple[tuple[str, ...], Phase] | None:
        if step == "hold" or isinstance(step, Wait):
            if not (isinstance(step, Wait) and step.wait == "fault"):
                self._arrived = True
            return None
        if step in ("connect", "start"):
            self._tell("the client calls connect(2) a second time: EISCONN, and nothing is sent")
            return ("EISCONN",), "connect"
        if step == "shutdown":
            self._tell("shutdown() sends a FIN: the client has said all, and goes on listening")
            self._shut = True
            return None
        if step == "eof":
            return self._drain(client)
        return self._send(client) if step == "send" else self._receive(client)

    def _send(self, client: Socket) -> tuple[tuple[str, ...], Phase] | None:
        size = client.size
        if self._coming == "rst" and self._arrived:
            self._tell("send() meets a connection that was reset")
            return ("ECONNRESET",), "send"
        if self._coming == "either" and self._arrived:
            self._tell("send() meets a connection that was reset behind its FIN")
            return ("EPIPE",), "send"
        if size > BUFFERS and any(effect.peer == "never-accept" for effect in self._effects):
            self._tell("nobody reads: the window closes, probes are told so, and send() waits on")
            return ("hang" if client.mode == "blocking" else "timeout",), "send"
        self._sent += max(size, 16)
        met = self._met("> data", size)
        if met is not None:
            self._tell(f"send() returns at once, and {met.says}")
            self._lost = True
            self._coming = "rst" if met.answer == "rst" else self._coming
        elif any(effect.peer == "forget" for effect in self._effects) and self._lost:
            self._tell("send() returns at once; the data comes to a kernel that knows of no such connection: RST")
            self._coming = "rst"
        elif self._gone:
            self._tell("send() returns at once; the data is sent again and again, and never acknowledged")
        elif self._coming == "fin":
            self._arrived = False
            self._tell("send() returns at once; the data comes to a closed connection: a RST follows the FIN")
            self._coming = "either"
        else:
            self._tell("the client sends its data")
            self._happens("data")
        return None

    def _happens(self, what: str) -> None:
        """The peer may act now: `accept` has returned, or `data` has been read."""
        for effect in self._effects:
            if effect.peer is None:
                continue
            due = {"accept": 0, "data": 1}.get(str(effect.after), effect.after)
            if self._sent < int(due) or (what == "data" and self._sent and int(due) == 0):
                continue
            self._tell(effect.says)
            self._coming = SENDS.get(effect.peer, self._coming)
            self._gone = self._gone or effect.peer == "vanish"
            self._lost = self._lost or effect.peer != "crossing"

    def _receive(self, client: Socket) -> tuple[tuple[str, ...], Phase] | None:
        if self._coming is not None:
            errors = {"rst": ("ECONNRESET",), "fin": ("eof",), "either": ("eof", "ECONNRESET")}[self._coming]
            self._tell(f"recv() ends: {' or '.join(errors)}")
            return errors, "receive"
        if self._gone and (limit := self._patience(client)) is not None:
            self._tell(f"after {limit:g} s without an answer the kernel gives the peer up: ETIMEDOUT")
            return ("ETIMEDOUT",), "receive"
        met = self._met("< data", client.size)
        if self._lost or met is not None or not self._sent:
            self._tell((f"{met.says}; " if met else "") + "no answer comes, and recv() waits on")
            return ("hang" if client.mode == "blocking" else "timeout",), "receive"
        late = sum(_late(effect, client.size) for effect in self._effects)
        if client.timeout is not None and late >= client.timeout:
            self._tell("the answer comes, and comes too late")
            return ("timeout",), "receive"
        self._tell("the answer comes")
        return None

    def _patience(self, client: Socket) -> float | None:
        """Seconds until the kernel gives a silent peer up, if that is before the client does; tcp_retries2 is not."""
        options = client.options
        limit = options.TCP_USER_TIMEOUT if self._sent else None
        if options.SO_KEEPALIVE and options.TCP_KEEPIDLE and options.TCP_KEEPINTVL and not self._sent:
            limit = options.TCP_KEEPIDLE + options.TCP_KEEPINTVL * (options.TCP_KEEPCNT or PROBES)
        return limit if limit is not None and (client.timeout is None or limit < client.timeout) else None

    def _drain(self, client: Socket) -> tuple[tuple[str, ...], Phase] | None:
        """To the end of the stream: the peer's, or the one with which our listener answers ours."""
        if self._coming == "fin" or (self._shut and not self._lost):
            self._tell("recv() comes to the end of the stream")
            return None
        return self._receive(replace(client, size=1)) if self._coming else self._wait_on(client)

    def _wait_on(self, client: Socket) -> tuple[tuple[str, ...], Phase]:
        self._tell("no end of the stream comes, and recv() waits on")
        return ("hang" if client.mode == "blocking" else "timeout",), "receive"

    def _met(self, segment: str, payload: int = 0) -> Effect | None:
        """The first effect on its way that takes this segment out, and each of its retransmissions."""
        path = self._path if segment[0] == ">" else self._path[::-1]
        found = (effect for node in path for effect in self._effects if effect.at == node)
        return next((it for it in found if it.takes(segment, _number(segment, it)) and _lasts(it, payload)), None)

    def _tell(self, text: str) -> None:
        self._story.append(text)

    def wire(self, client: Client, syns: Sequence[str] = ("> syn",)) -> tuple[str, ...] | None:
        """The handshake (of these SYNs, and what answered them), and whatever follows it."""
        met = self._met("> ack")
        early = [effect.adds for effect in self._effects if effect.adds and effect.after == "syn"]
        if early:
            return (*syns, *early, "...")
        if any(effect.broken and "< syn-ack" in effect.meets for effect in self._effects):
            return (*syns[:1], "...")  # what arrives broken is seen by the client's capture, and by nobody else
        handshake = (*syns, "< syn-ack", *(("> ack",) if met is None or met.at != self._setting.client else ()))
        plain = isinstance(client, Socket) and not {"send", "recv", "shutdown", "eof"} & set(map(str, client.steps))
        alone = not self.disturbed and not any(effect.adds or effect.slows for effect in self._effects)
        return handshake if plain and alone else (*handshake, "...")


HEADERS = 52
"""Bytes of the headers of an IPv4 segment with a time stamp: what its payload adds to."""


SEGMENT = 1428
"""Bytes of payload of the longest segment (an MTU of 1500, IPv6, a time stamp)."""


def _late(effect: Effect, size: int) -> float:
    """By how many seconds the first of an answer is late."""
    if not {"> data", "< data"} & set(effect.slows):
        return 0.0
    return effect.by + (min(size, SEGMENT) / effect.rate if effect.rate else 0.0)


def _number(segment: str, effect: Effect) -> int:
    """Which of the effect's segments this is: the answer is the second to what counts both ways."""
    return 2 if segment[0] == "<" and f"> {segment[2:]}" in effect.meets else 1


def _lasts(effect: Effect, payload: int) -> bool:
    """Whether a segment is lost for good: more than the first few are, and smaller pieces would not pass either."""
    return effect.nth[1] is None and not effect.mtu and effect.larger < payload + HEADERS
