"""The keys of a scenario file, as types: read by the validator, printed by `connect-chaos schema`.

`Document` is the file's frame; its `faults`, `client`, `expect` and `cases` are typed by what they name (load.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from chaos.fields import (
    Argument,
    Backlog,
    Count,
    Duration,
    ErrorName,
    NodeName,
    Port,
    Positive,
    Regex,
    State,
    TimeWindow,
)
from chaos.lookup import parse as parse_lookup
from chaos.model import Addresses, Answer, Family, Path, Phase, Source, Speaks, Timing, Type
from chaos.pattern import parse as parse_line
from chaos.ranges import Window, parse_window
from chaos.suggest import did_you_mean

PYTESTS_OWN: Final = {
    "filterwarnings": "",
    "parametrize": "; a scenario has `cases` and `matrix`",
    "skip": "",
    "skipif": "",
    "tryfirst": "",
    "trylast": "",
    "usefixtures": "",
    "xfail": '; a scenario has `xfail: "why"`',
}
"""Marks that pytest acts upon, which a tag must not set off by its name, and what there is in their place."""

CASE_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


def _elapsed(value: Any) -> Window | Literal["kernel"]:
    if value == "kernel":
        return "kernel"
    try:
        return parse_window(value)
    except ValueError as error:
        raise ValueError(f"{error}{did_you_mean(value, ['kernel'])}") from None


def _tag(value: str) -> str:
    if value in PYTESTS_OWN:
        raise ValueError(f"`{value}` is a mark of pytest's own, and means something to it{PYTESTS_OWN[value]}")
    return value


def _wire_line(value: str) -> str:
    parse_line(value)
    return value


def _lookup_line(value: str) -> str:
    parse_lookup(value)
    return value


Text = Annotated[str, Field(min_length=1)]
Tag = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$", json_schema_extra={"not": {"enum": [*PYTESTS_OWN]}}),
    AfterValidator(_tag),
]
Counter = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]{0,63}$")]
WireLine = Annotated[str, AfterValidator(_wire_line), WithJsonSchema({"type": "string"})]
LookupLine = Annotated[str, AfterValidator(_lookup_line), WithJsonSchema({"type": "string"})]
Elapsed = Annotated[
    Window | Literal["kernel"],
    PlainValidator(_elapsed),
    WithJsonSchema({"type": "string", "pattern": r"^kernel$|\.\."}),
]
Domain = Literal[Family, "local"]
Call = Annotated[str, Field(pattern=r"^[a-z]+( (E[A-Z0-9]+|timeout|eof))?$")]
_LINES: Final = {"type": "array", "items": {"type": "string"}}
Wire = Annotated[
    Mapping[NodeName, tuple[WireLine, ...]],
    WithJsonSchema({"anyOf": [_LINES, {"type": "object", "additionalProperties": _LINES}]}),
]


@dataclass(frozen=True)
class Surfaces:
    """What the library's user sees: exception and cause, its text, a product's code, a program's exit."""

    type: Text | None = None
    message: Regex | None = None
    code: Argument | None = None
    cause: Text | None = None
    exit: Count | None = None
    stderr: Regex | None = None


@dataclass(frozen=True)
class QueueLimit:
    """A listener's accept queue: how many wait in it, and the backlog of listen(2)."""

    accept: Annotated[int, Field(ge=0)]
    backlog: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Accepted:
    """What accept(2) returned, and when: after the final ACK, a new descriptor, the client's address."""

    after: Literal["ack"] | None = None
    fd: Literal["new"] | None = None
    peer: NodeName | None = None


@dataclass(frozen=True)
class Local:
    """The client's own end: a port of net.ipv4.ip_local_port_range that the kernel chose, or the one that was bound."""

    port: Annotated[Port | Literal["ephemeral"], Field(description="ephemeral, or a number")]
    peer: Annotated[Literal["itself"] | None, Field(description="itself: the other end is this one")] = None


@dataclass(frozen=True)
class Try:
    """One attempt of a client that has several addresses: when it began, counted from the first, and what it met."""

    family: Family | None = None
    at: TimeWindow | None = None
    answer: Answer | None = None


@dataclass(frozen=True)
class Expect:
    """What must have happened. Nodes are keys of `wire`, `states`, `queues` and `kernel`."""

    error: Annotated[ErrorName | None, Field(description="an errno or EAI_ name, ok, timeout, eof, hang")] = None
    phase: Phase | None = None
    step: Annotated[Positive | None, Field(description="which step of the socket client, from 1")] = None
    elapsed: Annotated[Elapsed | None, Field(description="kernel, or a window: 200ms.., ..500ms, 2.9s..3.5s")] = None
    surfaces: Surfaces | None = None
    wire: Annotated[Wire, Field(description="the conversation at the client, or by node: '> syn x2'")] = field(
        default_factory=dict
    )
    states: Mapping[NodeName, tuple[State, ...]] = field(default_factory=dict)
    queues: Mapping[NodeName, QueueLimit] = field(default_factory=dict)
    kernel: Mapping[NodeName, Mapping[Counter, Count]] = field(default_factory=dict)
    accepted: Accepted | None = None
    local: Local | None = None
    calls: Annotated[tuple[Call, ...] | None, Field(description="the socket client's: [socket, connect EINTR]")] = None
    lookup: Annotated[
        tuple[LookupLine, ...], Field(description="the client's DNS messages: '> A server', '< A server nxdomain'")
    ] = ()
    attempts: Annotated[
        tuple[Try, ...], Field(description="each address that was tried, in order, as {family, at, answer}")
    ] = ()


@dataclass(frozen=True)
class Link:
    """The wire of a routed path."""

    rtt: Duration = 0.002


@dataclass(frozen=True)
class ListenKeys:
    """The real listener; what is left out depends on the topology and on the client."""

    node: NodeName | None = None
    port: Port | None = None
    speaks: Speaks | None = None
    backlog: Backlog = 128


@dataclass(frozen=True)
class TargetKeys:
    """What the client dials; the port is the one on which the node listens."""

    node: NodeName
    port: Port | None = None


@dataclass(frozen=True)
class Matrix:
    """Axes to multiply the cases by."""

    family: Annotated[tuple[Domain, ...], Field(min_length=1)] = ()
    type: Annotated[tuple[Type, ...], Field(min_length=1)] = ()
    path: Annotated[tuple[Path, ...], Field(min_length=1)] = ()
    timing: Annotated[tuple[Timing, ...], Field(min_length=1)] = ()


@dataclass(frozen=True)
class Overrides:
    """What a case may say of the network in place of the file."""

    link: Link | None = None
    family: Family | None = None
    listen: ListenKeys | None = None
    target: TargetKeys | None = None
    timing: Timing | None = None


@dataclass(frozen=True)
class Document:
    """A scenario file: one behaviour."""

    topology: Annotated[Text, Field(description="a folder of compose/, or a path to a Compose file")] = "client-server"
    path: Annotated[Path, Field(description="through the router, our wire, or direct")] = "routed"
    link: Annotated[Link, Field(description="the wire: {rtt: 20ms}")] = Link()
    family: Annotated[Domain, Field(description="local: UNIX sockets, at the client's own node")] = "ipv4"
    type: Annotated[Type, Field(description="of the sockets: TCP, UDP or raw; UNIX ones of each kind")] = "stream"
    names: Annotated[
        Source, Field(description="where names come from: /etc/hosts, or a DNS server, the node `dns`")
    ] = "hosts"
    addresses: Annotated[
        Addresses, Field(description="to which of a node's addresses its name leads: the family's, or both")
    ] = "family"
    listen: Annotated[ListenKeys, Field(description="the real listener")] = ListenKeys()
    target: Annotated[TargetKeys | None, Field(description="what the client dials")] = None
    faults: Annotated[Any, Field(description="what breaks the path, in order; [] is a healthy network")] = ()
    client: Annotated[Any, Field(description="who connects")] = None
    expect: Annotated[Any, Field(description="what must happen")] = None
    timing: Annotated[
        Timing, Field(description="the kernel's schedule: short 3 s, real 131, compressed 1.1, doubling 127")
    ] = "short"
    cases: Annotated[
        Any, Field(description="variants, each overriding faults, client, expect, link, family, listen, target, timing")
    ] = None
    matrix: Annotated[Matrix, Field(description="axes to multiply: {family: [ipv4, ipv6]}")] = Matrix()
    tags: Annotated[tuple[Tag, ...], Field(description="pytest markers")] = ()
    xfail: Annotated[Text | None, Field(description="why the client is known to fail; strict")] = None
    exclusive: Annotated[bool, Field(description="runs alone")] = False
