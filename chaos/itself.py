"""What connect() says of the program that calls it, whatever the network does: its own addresses, calls, options.

`itself` is what fails (or succeeds) before anything is sent; `called` is what becomes of a call that the network
answers in its way (connect(2), socket(7), tcp(7), signal(7)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chaos.clients.socket import Interrupt, Socket, Step, To
from chaos.model import Setting
from chaos.prediction import Event, Prediction
from chaos.schedule import window

AT_ONCE = (0.0, 0.1)
STRANGE = {
    ("ipv4", "stream"): "EAFNOSUPPORT",
    ("ipv4", "datagram"): "EAFNOSUPPORT",
    ("ipv4", "raw"): "EAFNOSUPPORT",
    ("ipv6", "stream"): "EINVAL",
    ("ipv6", "datagram"): "ENETUNREACH",
    ("ipv6", "raw"): "EAFNOSUPPORT",
}
"""An address of the other family, by the socket's own. IPv6's TCP looks at its length first (net/ipv6/tcp_ipv6.c), and
IPv6's UDP takes an IPv4 address for what it is, to which there is no route here (net/ipv6/datagram.c)."""


def itself(client: Socket, setting: Setting) -> Prediction | None:
    """The end of an attempt that never reaches the network; None when it does."""
    if client.privileges == "none" and setting.type == "raw" and not setting.local:
        return _refused("EPERM", "a raw socket needs CAP_NET_RAW, and the client has dropped it: socket(2) refuses")
    if client.bind is not None and client.bind.address == "foreign":
        return _refused("EADDRNOTAVAIL", "no interface has the address that the client binds: bind(2) refuses")
    place = next((step.connect for step in client.steps if isinstance(step, To)), None)
    if place == "other-family":
        error = STRANGE[setting.family, setting.type]
        return _refused(error, "the address is of another family than the socket: connect(2) refuses")
    if place == "unscoped":
        return _refused("EINVAL", "a link-local address without its link is no address: connect(2) refuses")
    if place == "itself":
        story: Event = (0.0, "the client dials its own address and port: its SYN meets itself, and it is connected")
        return Prediction(("ok",), None, (0.0, None), (), (story,))
    return None


def _refused(error: str, says: str) -> Prediction:
    return Prediction((error,), "connect", AT_ONCE, (), ((0.0, f"{says}, {error}; nothing is sent"),))


def called(client: Socket, setting: Setting, plain: Prediction) -> Prediction:
    """What an ordinary connect() would come to (`plain`), as this client's calls and options have it."""
    waits = plain.connected or (plain.elapsed[0] if plain.phase == "connect" else setting.rtt)
    ends = _ends_early(client, waits)
    if ends is not None:
        at, error, says = ends
        sent = tuple(line for line in plain.wire or () if line.startswith("> syn"))[:1]
        return Prediction((error,), "connect", window(at), _sent(sent, at), (*_until(plain, at), (at, says)))
    if client.options.TCP_FASTOPEN_CONNECT and "send" in client.steps:
        return _fast_opened(plain)
    if client.steps[:1] == ("start",):
        return _started(client.steps, plain)
    return plain


def _ends_early(client: Socket, waits: float) -> tuple[float, str, str] | None:
    """(when, errno, what happens) where something ends connect() before the network does."""
    signal = next((step.interrupt for step in client.steps if isinstance(step, Interrupt)), None)
    if signal is not None and signal < waits:
        return signal, "EINTR", "a signal ends the wait: connect() returns EINTR, and the kernel connects on"
    given, wait = client.options.SO_SNDTIMEO, client.options.TCP_USER_TIMEOUT
    if given is not None and given < waits and client.mode == "blocking":
        return given, "EINPROGRESS", "SO_SNDTIMEO ends the wait: connect() returns EINPROGRESS"
    if wait is not None and wait < waits:
        return wait, "ETIMEDOUT", "TCP_USER_TIMEOUT is over: the kernel gives up, connect() returns ETIMEDOUT"
    return None


def _sent(lines: Sequence[str], at: float) -> tuple[str, ...]:
    """The SYNs until then: the kernel sends the second after 1 s, and then doubles (RFC 6298)."""
    count = sum(due < at for due in (0.0, 1.0, 3.0, 7.0))
    return (f"> syn x{count}",) if lines else ()


def _until(plain: Prediction, at: float) -> tuple[Event, ...]:
    return tuple(event for event in plain.events if event[0] is not None and event[0] < at)


def _fast_opened(plain: Prediction) -> Prediction:
    """connect() has returned before anything is sent, and the request is on the SYN (RFC 7413)."""
    story: Event = (0.0, "connect() returns at once; send() sends the SYN, with the request on it")
    if plain.phase == "connect":
        return replace(plain, phase="send", events=(story, *plain.events))
    return replace(plain, wire=("> syn", "< syn-ack", "..."), events=(story, *plain.events))


def _started(steps: Sequence[Step], plain: Prediction) -> Prediction:
    """A connect() that nobody waits for: a second one finds it under way, if nothing has answered yet."""
    second = {"start", "connect"} & set(map(str, steps[1:]))
    if not second or plain.errors != ("ETIMEDOUT",):
        return Prediction((), events=plain.events)
    told: Event = (None, "a second connect(2) finds the first one under way: EALREADY")
    return Prediction(("EALREADY",), "connect", (0.0, None), ("> syn",), (plain.events[0], told))
