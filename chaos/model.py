"""The contracts that everything else is written against: plain data, and four small protocols.

A backend starts a topology and yields a `Lab` of `Node`s. A `Fault` is injected into a lab and yields
something `Armed`. A `Client` makes one attempt in a lab and yields an `Outcome`. Nothing here does anything;
faults, clients and backends know one another only through this module.

Times are seconds as float, except where a name ends in `_ns`: nanoseconds of CLOCK_REALTIME, the clock of
packet timestamps (SO_TIMESTAMPNS), which all nodes of a lab share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

if TYPE_CHECKING:
    from chaos.evidence import Evidence
    from chaos.packets import Packet

Family = Literal["ipv4", "ipv6"]
Type = Literal["stream", "datagram", "raw"]
Path = Literal["routed", "direct"]
Timing = Literal["short", "real", "compressed", "doubling"]
Speaks = Literal["echo", "http"]
Source = Literal["hosts", "dns"]
"""Where names come from: each node's /etc/hosts, or a DNS server."""
Answer = Literal["syn-ack", "rst", "icmp", "none"]
"""What first comes back to a SYN."""
Addresses = Literal["family", "both"]
"""To which of a node's addresses its name leads: that of the scenario's family, or both."""
Phase = Literal["resolve", "connect", "send", "receive"]

NODE_IMAGE = "connect-chaos/node"
"""The repository of the image of our own nodes."""

ROUTER = "router"
"""The node that the lab adds on the path between every two services; no service may have its name."""

RESOLVER = "dns"
"""The node that the lab adds when names come from DNS: it answers for all of them."""

FAMILIES: tuple[Family, ...] = ("ipv6", "ipv4")
"""Both, in the order in which a client prefers them (RFC 6724, section 2.1)."""


@dataclass(frozen=True)
class Endpoint:
    """Where somebody listens, or what a client dials: a node's name and a TCP port."""

    node: str
    port: int


@dataclass(frozen=True)
class Listen:
    """The real listener of a lab: where it is, what it speaks, and listen(2)'s backlog."""

    node: str = "server"
    port: int = 8080
    speaks: Speaks = "echo"
    backlog: int = 128


@dataclass(frozen=True)
class Service:
    """One node of a topology: a service of its Compose file.

    `command` is `x-chaos.netns.command`, which the netns backend runs in place of the image; `proxy` is
    `x-chaos.toxiproxy`: (listen port, upstream). `product`: it runs a program of its own, by an image that is not ours
    or by `command`. `resolver`: it runs the lab's DNS server.
    """

    name: str
    image: str | None = None
    command: tuple[str, ...] = ()
    listen: int | None = None
    proxy: tuple[int, Endpoint] | None = None
    product: bool = False
    resolver: bool = False


@dataclass(frozen=True)
class Topology:
    """A Compose file as both backends read it. `file` is where it was found."""

    name: str
    file: str
    services: Mapping[str, Service]


LONG: Final = 1.0
"""Seconds of an attempt that is begun before others end, and lends its lab's process."""
SLOW: Final = 0.05
"""Seconds of a round trip over a wire that every leg waits for, and not only the attempt."""


@dataclass(frozen=True)
class Setting:
    """Everything that a backend needs to start a lab for one case.

    `folder` is the scenario's own, from which the function of a `python` client is imported.
    `type` is that of the sockets which listen and dial (socket(2)); when they are `local`, nothing is on the network.
    `bound` is the port that the client binds, if it does. `waits`: seconds that its attempt lasts at least, as far as
    the scenario says.
    """

    topology: Topology
    path: Path = "routed"
    rtt: float = 0.002
    family: Family = "ipv4"
    timing: Timing = "short"
    listen: Listen = field(default_factory=Listen)
    target: Endpoint = Endpoint("server", 8080)
    client: str = "client"
    folder: str = "."
    type: Type = "stream"
    local: bool = False
    bound: int | None = None
    names: Source = "hosts"
    addresses: Addresses = "family"
    waits: float = 0.0

    @property
    def patient(self) -> bool:
        """Whether the attempt waits for so long that it makes no difference to it when others are served first."""
        return self.waits >= LONG

    @property
    def slow(self) -> bool:
        """Whether every leg waits for the wire, which times it to the millisecond."""
        return self.rtt >= SLOW

    @property
    def families(self) -> tuple[Family, ...]:
        """The families of the addresses to which names lead. Faults act on `family` alone."""
        return FAMILIES if self.addresses == "both" else (self.family,)

    @property
    def proxied(self) -> bool:
        """Whether the client dials a Toxiproxy, which dials the listener: two connections, two handshakes."""
        service = self.topology.services.get(self.target.node)
        return service is not None and service.proxy is not None and self.target.node != self.listen.node

    @property
    def pathname(self) -> str:
        """The path by which our listener is reached when it is local (unix(7))."""
        return f"/run/connect-chaos/{self.listen.node}.{self.listen.port}"


@dataclass(frozen=True)
class Surfaced:
    """One exception of a client's error, outermost first. `errno` is set only when it really is one."""

    type: str
    message: str
    errno: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a client surfaced in one attempt. A surfaced error is a value, never an exception.

    error: an errno name (`ECONNREFUSED`), an `EAI_` name, or `ok`, `timeout`, `eof`, `hang`, `no-verdict`;
        None while only the packets can tell (a program that names no errno): see evidence.settle().
    phase: where it ended; None until derived from the packets.
    step: which of the socket client's steps failed, counted from 1.
    started_ns, returned_ns: the client's first system call (or its program's start) and its return.
    waited_ns: how long it was told to wait between its own calls (the steps `hold` and `wait`).
    elapsed: seconds from the first segment of the attempt (or from `started_ns`) to the return, less `waited_ns`.
    error_from: who named the error: the client's `errno`, its `text`, or the `wire`.
    calls: the socket client's system calls in their order, each with its error's name behind it if it had one.
    local, peer: (address, port) of the socket client's own end, and of the other once it is connected.
    """

    error: str | None
    phase: Phase | None
    started_ns: int
    returned_ns: int
    waited_ns: int = 0
    step: int | None = None
    chain: tuple[Surfaced, ...] = ()
    code: str | None = None
    exit: int | None = None
    stdout: str = ""
    stderr: str = ""
    elapsed: float | None = None
    error_from: Literal["errno", "text", "wire"] = "errno"
    local: tuple[str, int] | None = None
    peer: tuple[str, int] | None = None
    calls: tuple[str, ...] = ()

    @property
    def looped(self) -> bool:
        """Whether the socket client is connected to itself: its own end is the other one too."""
        return self.local is not None and self.local == self.peer

    @property
    def type(self) -> str | None:
        """The outermost exception's qualified name, as the library's user would catch it."""
        return self.chain[0].type if self.chain else None

    @property
    def message(self) -> str | None:
        """The outermost exception's text."""
        return self.chain[0].message if self.chain else None


class Node(Protocol):
    """One host of a lab: a network namespace, or a container with its sidecar."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str:
        """The node's address in the lab's family."""

    @property
    def interface(self) -> str:
        """The device that leads to the path (the router has several; this is the wire's)."""

    @property
    def learnt(self) -> dict[Any, Any]:
        """What operations have told of themselves that spares the next one work, by a key of the asker's."""

    def call(self, operation: str, /, **arguments: Any) -> Any:
        """Run one operation of `chaos/agent/` inside the node and return its JSON result.

        Raises CommandFailed or ToolMissing as the operation did, LabError when the agent is dead.
        """

    def start(self, operation: str, /, **arguments: Any) -> Running:
        """Start an operation that goes on in a child of the agent."""


class Running(Protocol):
    """An operation that goes on in a child of an agent, and tells events."""

    def next(self, deadline: float) -> Any:
        """Its next event, or None after `deadline` seconds. Raises LabError when the child has died."""

    def ready(self) -> bool:
        """Whether an event is there already."""

    def tell(self, message: Any) -> None:
        """Pass a message to the child."""

    def end(self) -> None:
        """Kill the child; its sockets close with it."""


class Listener(Protocol):
    """Our listener, as it behaves right now."""

    def report(self) -> Mapping[str, Any]:
        """What it met since it was started: `accepts`, `acted` (see chaos/agent/listener.py)."""

    def frozen(self) -> AbstractContextManager[None]:
        """Its process is stopped (SIGSTOP) inside, and goes on afterwards."""


class Proxy(Protocol):
    """The proxy of a Toxiproxy. Whatever it does not do as it is told is a LabError: each change is read back."""

    @property
    def node(self) -> str: ...

    @property
    def listen(self) -> tuple[str, int]:
        """The address and port on which it accepts."""

    @property
    def upstream(self) -> tuple[str, int]:
        """Where it connects to for each connection that it has accepted."""

    def add(self, toxic: Mapping[str, Any]) -> None:
        """Add a toxic, in the words of Toxiproxy's API: `name`, `type`, `stream`, `toxicity`, `attributes`."""

    def remove(self, name: str) -> None:
        """Remove a toxic; what it held goes on, or ends with it (`timeout`)."""

    def enable(self, *, enabled: bool) -> None:
        """Have it listen, or close its listener and its connections."""

    def passed(self) -> Mapping[str, tuple[int, int]]:
        """(received, sent) bytes of connections that have ended, for `upstream` and `downstream`."""


class Resolver(Protocol):
    """The DNS server of a node."""

    @property
    def node(self) -> str: ...

    @property
    def address(self) -> str:
        """Where it is asked, on port 53, over UDP and TCP."""

    def behave(self, answer: str, *, by: float = 0.0, tcp: bool = True) -> None:
        """How it answers from now on: `honest`, or one of the ways of chaos/agent/resolver.py.

        by: seconds until each answer. tcp: whether it takes connections.
        """

    def answered(self) -> int:
        """Questions that it met since it was told how to behave (an unanswered one too)."""


class WireRule(Protocol):
    """A rule that is in force on the wire."""

    def hits(self) -> int:
        """Segments that it has acted on until now."""


class Lab(Protocol):
    """A running network: every node answers, routes lead through the router, and a listener accepts."""

    @property
    def setting(self) -> Setting: ...

    @property
    def nodes(self) -> Mapping[str, Node]: ...

    @property
    def target_address(self) -> str:
        """The address to which the target's name leads at the client, in the lab's family."""

    @property
    def target_addresses(self) -> frozenset[str]:
        """Every address to which the target's name leads at the client."""

    @property
    def nowhere(self) -> str:
        """An address that is routed to the router and belongs to nobody."""

    def ours(self, node: str) -> bool:
        """Whether what listens at this node is our listener, and not a product's own."""

    def link(self, node: str, end: str) -> str:
        """The device by which `node` (the router, or `end` itself) is linked towards the end node `end`."""

    def link_address(self, node: str, end: str) -> str:
        """The address of `node` on the link of the end node `end`, in the lab's family."""

    def listening(self, *, do: str, **behaviour: Any) -> AbstractContextManager[Listener | None]:
        """Our listener replaced by one that behaves so; the healthy one comes back on leaving.

        `do`: `absent`, or what chaos/agent/listener.py does (`serve`, `never-accept`, `abort`...); `after`:
        `accept`, `data` or a number of bytes; `backlog`; `fill`: connections made to it from inside its node; `kind`:
        another type of socket than the setting's; `process`: it is to be one of its own, so that it can be stopped.
        """

    def on_wire(self, rule: Mapping[str, Any]) -> AbstractContextManager[WireRule]:
        """A rule (`match` and `action` of chaos/agent/rules.py) in force on the wire until leaving.

        Raises LabError when there is no wire.
        """

    def proxy(self, node: str) -> Proxy:
        """The proxy of the Toxiproxy in this node. Raises LabError when it has none."""

    def resolver(self, node: str) -> Resolver:
        """The DNS server of this node. Raises LabError when it has none."""

    def packets(self, node: str) -> Sequence[Packet]:
        """What the capture at this node has seen of the attempt until now, in order."""

    def wait(self, condition: Callable[[], bool], what: str, deadline: float) -> None:
        """Return when the condition holds; raise LabError naming `what` after `deadline` seconds."""

    def hold(self) -> None:
        """Let the states and queues be read now: what is on the wire has arrived when this returns."""

    def acted(self) -> bool:
        """Whether the misbehaving listener has acted on a connection yet (`wait: fault`)."""

    def names(self, node: str, overrides: Mapping[str, Sequence[str]]) -> None:
        """Make names lead to other addresses at this node, in the lab's family and in this order; {} restores them.

        Where names come from DNS, they do so at every node.
        """


class Armed(Protocol):
    """A fault that is in force."""

    def hits(self) -> int:
        """What the fault touched in the attempt; asked once, at the attempt's end, while still armed."""

    def unproven(self, evidence: Evidence) -> str | None:
        """Why the evidence does not prove that the fault acted, or None when it does."""


class Fault(Protocol):
    """One exact way to break the path. Frozen; its fields are its YAML parameters."""

    def inject(self, lab: Lab) -> AbstractContextManager[Armed]:
        """Arm it; leaving the `with` is the undo."""


class Client(Protocol):
    """An unmodified program or library that connects. Frozen; its fields are its YAML parameters."""

    @property
    def node(self) -> str: ...

    def attempt(self, lab: Lab) -> Outcome:
        """Connect to the lab's target once, and say how it ended."""
