"""The socket client's vocabulary: its steps, the options of its socket, where it binds.

A step is a word, or a word and what it is about:

    connect                         connect(2) to the target, in the client's mode
    {connect: itself}               to its own address and port (RFC 9293, 3.5: a simultaneous open with itself)
    {connect: other-family}         libc's connect(2) with an address of the other family
    {connect: unscoped}             libc's connect(2) to fe80::1, without the link that it is an address of
    start                           connect(2) alone, non-blocking: EINPROGRESS is no error, and nobody waits
    {interrupt: 100ms}              SIGALRM then, with a handler that does nothing; connect(2) is libc's from now on
    send, recv                      the request; its answer
    shutdown                        shutdown(SHUT_WR): there will be no more data from here
    eof                             read to the end of the stream
    hold, {wait: fault}, {wait: "< rst"}    until states and queues are read; until something has happened
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from chaos.fields import Duration, Port, Positive
from chaos.model import Setting

Word = Literal["connect", "start", "send", "recv", "shutdown", "eof", "hold"]


@dataclass(frozen=True)
class Wait:
    """Wait for `fault` (our listener has acted), or for a packet at the client: `< rst`, `< icmp`."""

    wait: Literal["fault", "< rst", "< fin", "< data", "< ack", "< syn", "< syn-ack", "< icmp", "< udp"]


@dataclass(frozen=True)
class To:
    """Connect to something else than the target."""

    connect: Literal["itself", "other-family", "unscoped"]


@dataclass(frozen=True)
class Interrupt:
    """A signal, so long from now."""

    interrupt: Duration


def _kind(step: Any) -> str | None:
    """Which step a value is meant to be: a word, or the key of a map of one."""
    if isinstance(step, str):
        return "word"
    if isinstance(step, dict):
        return str(next(iter(step))) if len(step) == 1 else None
    return next(iter(wire_form(step)))


Step = Annotated[
    Annotated[Word, Tag("word")]
    | Annotated[Wait, Tag("wait")]
    | Annotated[To, Tag("connect")]
    | Annotated[Interrupt, Tag("interrupt")],
    Discriminator(
        _kind,
        custom_error_type="step",
        custom_error_message="expected a step such as connect, {wait: fault} or {interrupt: 100ms}",
    ),
]
HEALTHY: tuple[Step, ...] = ("connect", "send", "recv")


@dataclass(frozen=True)
class Bind:
    """bind(2): a local port, and an address: `foreign` is one that no node has; else it is the kernel's choice."""

    port: Port | None = None
    address: Literal["foreign"] | None = None


@dataclass(frozen=True)
class Options:
    """setsockopt(2), by the names of socket(7) and tcp(7); what is left out is left alone."""

    SO_KEEPALIVE: bool | None = None
    SO_SNDBUF: Positive | None = None
    SO_RCVBUF: Positive | None = None
    SO_SNDTIMEO: Duration | None = None
    SO_RCVTIMEO: Duration | None = None
    TCP_KEEPIDLE: Duration | None = None
    TCP_KEEPINTVL: Duration | None = None
    TCP_KEEPCNT: Positive | None = None
    TCP_SYNCNT: Positive | None = None
    TCP_USER_TIMEOUT: Duration | None = None
    TCP_FASTOPEN_CONNECT: bool | None = None
    TCP_FASTOPEN_NO_COOKIE: bool | None = None

    def given(self) -> dict[str, float]:
        """Those that are to be set."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def patience(self) -> float:
        """Seconds until the kernel gives a peer up by these options, at most; 0 where they do not say."""
        syns = 2.0 ** (self.TCP_SYNCNT + 1) - 1 if self.TCP_SYNCNT else 0.0
        idle, interval = self.TCP_KEEPIDLE or 0.0, self.TCP_KEEPINTVL or 0.0
        return max(syns, idle + interval * (self.TCP_KEEPCNT or 0), self.TCP_USER_TIMEOUT or 0.0)


def wire_form(step: Step) -> dict[str, Any]:
    """A step as the operation `connect` takes it: {name: argument or None}."""
    if isinstance(step, str):
        return {step: None}
    return {field.name: getattr(step, field.name) for field in fields(step)}


def spoken(step: Step) -> str:
    """A step for people."""
    ((name, argument),) = wire_form(step).items()
    if name == "interrupt":
        return f"a signal in {argument * 1000:g} ms"
    return name if argument is None else f"{name} {'to' if name == 'connect' else 'for'} {argument}"


def nonsense(steps: tuple[Step, ...], mode: str, setting: Setting) -> Iterator[str]:
    """What is wrong with steps as they are."""
    first = next((step for step in steps if not isinstance(step, Interrupt)), None)
    if first not in ("connect", "start") and not isinstance(first, To):
        yield "the first step must be `connect` (or `start`), after a signal perhaps"
    if "start" in steps and mode != "nonblocking":
        yield "`start` does not wait: it needs `mode: nonblocking`"
    places = {step.connect for step in steps if isinstance(step, To)}
    signals = any(isinstance(step, Interrupt) for step in steps)
    if setting.local and (places or signals):
        yield "a local socket has no other addresses to connect to, and its connect() does not wait"
    if "unscoped" in places and setting.family != "ipv6":
        yield "only IPv6 has addresses that need a scope: say `family: ipv6`"
    if signals and mode != "blocking":
        yield "only a blocking connect() can be interrupted"


def misplaced(options: Options, bind: Bind | None, setting: Setting) -> Iterable[tuple[str, str]]:
    """(key, message) for options and addresses that this domain or type of socket does not have."""
    ours = setting.type == "stream" and not setting.local
    strange = [name for name in options.given() if name.startswith("TCP_") and not ours]
    if strange:
        yield "options", f"{', '.join(strange)}: only TCP has them"
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if (getattr(options, name) or 0) % 1:
            yield "options", f"{name} counts in whole seconds (tcp(7))"
    if bind is not None and (setting.local or (setting.type == "raw" and bind.port)):
        yield "bind", "only TCP and UDP have ports to bind"
    if bind is not None and bind == Bind():
        yield "bind", "bind what? Say `port`, or `address: foreign`"
