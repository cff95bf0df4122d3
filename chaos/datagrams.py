"""How an attempt ends that has no handshake: datagrams, raw ones too, and UNIX sockets, which have no wire at all.

connect() of a datagram socket only chooses an address. What goes wrong on the way is an ICMP error or silence, and the
error is told by the next call on the socket: udp(7), raw(7); net/ipv4/udp.c `__udp4_lib_err`, net/ipv4/raw.c `raw_err`.
"""

from __future__ import annotations

from collections.abc import Sequence

from chaos.clients.socket import Socket, Wait
from chaos.effect import Effect
from chaos.icmp import errno_name
from chaos.itself import AT_ONCE
from chaos.model import ROUTER, Phase, Setting
from chaos.prediction import Event, Prediction
from chaos.schedule import window

NAMES = {"datagram": "udp", "raw": "raw"}


def datagrams(client: Socket, setting: Setting, told: Sequence[Effect]) -> Prediction:
    """The end of an attempt over UDP, or over a raw socket."""
    for effect in told:
        if effect.errno:
            return _refused(effect.errno, effect.says)
    return _Exchange(client, setting, told).play()


class _Exchange:
    """The client's steps, one by one."""

    def __init__(self, client: Socket, setting: Setting, told: Sequence[Effect]) -> None:
        self._client, self._setting, self._told = client, setting, told
        self._events: list[Event] = [(0.0, "connect() chooses an address; nothing is sent")]
        self._wire: list[str] = []
        self._coming: str | None = None
        self._answered = False

    def play(self) -> Prediction:
        """Until one of them fails, or all are done."""
        for step in self._client.steps:
            ended = None
            if step == "send":
                ended = self._send()
            elif step == "recv":
                ended = self._receive()
            elif isinstance(step, Wait) and self._coming is not None and self._coming not in self._wire:
                self._wire.append(self._coming)
            if ended is not None:
                return self._end(*ended)
        return self._end(("ok",), None)

    def _met(self, line: str, path: Sequence[str]) -> Effect | None:
        found = (effect for node in path for effect in self._told if effect.at == node and line in effect.meets)
        return next(found, None)

    def _send(self) -> tuple[tuple[str, ...], Phase] | None:
        if (error := self._error()) is not None:
            self._events.append((None, f"the next call on the socket tells the ICMP error: send() returns {error}"))
            return (error,), "send"
        path = [self._setting.client, ROUTER, self._setting.target.node]
        met = self._met("> data", path)
        if met is not None and met.at == self._setting.client:
            self._events.append((0.0, f"{met.says}; send() returns EPERM"))
            return ("EPERM",), "send"
        self._wire.append(f"> {NAMES[self._setting.type]}")
        self._events.append((0.0, f"the client sends a datagram{'; ' + met.says if met else ''}"))
        self._coming = f"< {met.answer}" if met is not None and met.answer else None
        silent = any(effect.peer == "silent" for effect in self._told)
        self._answered = met is None and not silent and self._met("< data", path[::-1]) is None
        return None

    def _error(self) -> str | None:
        if self._coming is None:
            return None
        numbers = map(int, self._coming.rpartition(":")[2].split("/"))
        return errno_name("icmpv6" if self._setting.family == "ipv6" else "icmp", *numbers)

    def _receive(self) -> tuple[tuple[str, ...], Phase] | None:
        if (error := self._error()) is not None and self._coming is not None:
            self._events.append((self._setting.rtt, f"the ICMP error is there: recv() returns {error}"))
            self._wire += [self._coming] if self._coming not in self._wire else []
            return (error,), "receive"
        if self._answered:
            self._events.append((self._setting.rtt, "the answer comes"))
            self._wire.append(f"< {NAMES[self._setting.type]}")
            return None
        self._events.append((None, "no answer comes, nobody sends the datagram again, and no errno is ever set"))
        return ("hang" if self._client.mode == "blocking" else "timeout",), "receive"

    def _end(self, errors: tuple[str, ...], phase: Phase | None) -> Prediction:
        within: tuple[float, float | None] = (0.0, None)
        if errors == ("timeout",) and self._client.timeout is not None:
            within = window(self._client.timeout)[0], None
        return Prediction(errors, phase, within, tuple(self._wire), tuple(self._events))


def locally(client: Socket, setting: Setting, told: Sequence[Effect]) -> Prediction:
    """The end of an attempt over UNIX sockets: nothing of it is on a network."""
    for effect in told:
        allowed = effect.errno == "EACCES" and client.privileges == "all"
        if effect.errno == "EAGAIN" and client.mode == "blocking":
            return _waited(client, effect)
        if effect.errno and not allowed:
            return _refused(effect.errno, effect.says)
    if setting.type == "stream" and client.steps.count("connect") > 1:
        return Prediction(("EISCONN",), "connect", (0.0, None), (), ((0.0, "the second connect(2) says EISCONN"),))
    return Prediction(("ok",), None, (0.0, None), (), ((0.0, "client and listener share a kernel: nothing is sent"),))


def _waited(client: Socket, effect: Effect) -> Prediction:
    """A blocking connect() waits for room, for SO_SNDTIMEO at most (net/unix/af_unix.c, unix_wait_for_peer)."""
    limit = client.options.SO_SNDTIMEO
    if limit is None:
        return Prediction(("hang",), None, (0.0, None), (), ((0.0, f"{effect.says}: connect() waits, for ever"),))
    events: tuple[Event, ...] = ((0.0, f"{effect.says}: connect() waits"), (limit, "SO_SNDTIMEO is over: EAGAIN"))
    return Prediction(("EAGAIN",), "connect", window(limit), (), events)


def _refused(error: str, says: str) -> Prediction:
    return Prediction((error,), "connect", AT_ONCE, (), ((0.0, f"{says}: {error}; nothing is sent"),))
