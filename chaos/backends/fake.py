"""A backend without a kernel: labs whose agents write down every operation and give canned answers.

All that is on the host's side (netns.py, lab.py, channel.py) is the real thing; an agent here is an object that
remembers the settings which faults change (sysctls, routes, rules, names, links, listeners) and nothing more. No packet
ever moves: tests say what a capture has seen, and how often a rule has matched.
"""

from __future__ import annotations

import base64
import json
import os
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from chaos.backends.channel import Channel
from chaos.backends.netns import Netns
from chaos.packets import Frame

if TYPE_CHECKING:
    from chaos.agent.lab import Spec

FRESH = {
    "net/ipv4/tcp_syn_retries": "6",
    "net/ipv4/tcp_syn_linear_timeouts": "4",
    "net/ipv4/tcp_rto_max_ms": "120000",
}
"""What a new network namespace has (Linux net/ipv4/tcp_ipv4.c, tcp_sk_init); other sysctls are 0."""

KEYS = {"via": "gateway", "proto": "protocol"}


@dataclass(frozen=True)
class Operation:
    """One request to an agent. `child` names the operation that a word to a child (`child`) is for."""

    node: str
    name: str
    arguments: Mapping[str, Any]
    child: str | None = None


@dataclass
class FakeAgent:
    """One node: what it was told to be, and what it answers. A test may change all of it."""

    node: str
    sysctls: dict[str, str] = field(default_factory=lambda: dict(FRESH))
    routes: list[dict[str, Any]] = field(default_factory=list)
    rules: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    down: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tables: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    hosts: str = ""
    listens: Mapping[str, Any] | None = None
    counters: dict[str, int] = field(default_factory=lambda: {"TcpExtListenOverflows": 0})
    queue: dict[str, int] | None = None
    matched: int = 0
    acted: int = 0
    connections: list[Any] = field(default_factory=list)
    neighbours: list[dict[str, Any]] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    lost: int = 0

    def settings(self) -> tuple[str, ...]:
        """All that a fault may change and must put back."""
        kept = (self.sysctls, self.rules, self.down, self.tables, self.hosts, self.listens)
        return (*map(str, kept), *sorted(map(str, self.routes)))

    def answer(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """The result of an operation that is not a child."""
        operation: Callable[..., Any] = getattr(self, f"_{name}", lambda **_: None)
        return operation(**arguments)

    def _sysctl(self, read: Any = None, write: Any = None) -> dict[str, str]:
        names = [*(read or ()), *(name for name, _ in write or ())]
        before = {name: self.sysctls.setdefault(name, "0") for name in names}
        self.sysctls.update(dict(write or ()))
        return before

    def _firewall(self, tool: str, do: str, rules: Any, table: str = "filter") -> list[int] | None:
        named = [(tool, table, tuple(rule)) for rule in rules]
        if do == "add":
            self.rules += named
        elif do == "delete":
            for rule in named:
                self.rules.remove(rule)
        return [self.matched] * len(named) if do == "count" else None

    def _link(self, do: str, interface: str = "eth0") -> bool:
        if do == "down":
            self.down[interface] = [route for route in self.routes if route["dev"] == interface]
            self.routes = [route for route in self.routes if route["dev"] != interface]
        elif do == "up":
            self.routes += self.down.pop(interface)
        return interface not in self.down

    def _names(self, hosts: str) -> None:
        self.hosts = hosts

    def _counters(self) -> dict[str, int]:
        return dict(self.counters)

    def _queue(self, port: int) -> dict[str, int] | None:
        if self.listens is None or self.listens["port"] != port:
            return None
        return self.queue or {"accept": self.listens["fill"], "backlog": self.listens["backlog"]}

    def _connections(self, port: int) -> list[Any]:
        return self.connections

    def _quiesce(self) -> dict[str, int]:
        self.neighbours.clear()
        return {"sockets": 0, "neighbours": 0}

    def _capture(self, do: str, interface: str = "eth0", since: int = 0) -> dict[str, Any] | None:
        if do == "start":
            return None
        told = [[it.time_ns, it.outgoing, base64.b64encode(it.data).decode()] for it in self.frames[since:]]
        return {"frames": told, "lost": self.lost}

    def _command(self, argv: list[str], stdin: str = "") -> str:
        if argv[:2] == ["getent", "hosts"]:
            return "".join(line + "\n" for line in self.hosts.splitlines() if line.split()[1:] == argv[2:])
        words = [word for word in argv[1:] if not word.startswith("-")]
        if words[:2] == ["route", "show"]:
            return json.dumps([route for route in self.routes if route["dst"] == words[2]])
        if words[:2] == ["neigh", "show"]:
            return json.dumps(self.neighbours)
        if words[:2] == ["route", "add"]:
            self.routes.append(_route(words[2:]))
        elif words[:2] == ["route", "del"]:
            self.routes.remove(_route(words[2:]))
        elif words[:2] == ["ntable", "change"]:
            self.tables[tuple(words[2:6])] = tuple(words[6:])
        return ""


def _route(words: list[str]) -> dict[str, Any]:
    """A route as `ip -json route` prints it, from the arguments of `ip route add`."""
    kind = {} if words[0][0].isdigit() else {"type": words.pop(0)}
    pairs = {KEYS.get(key, key): value for key, value in zip(words[1::2], words[2::2], strict=True)}
    return {**kind, "dst": words[0], "dev": "", **pairs, "metric": int(pairs["metric"])}


class FakeChannel(Channel):
    """The host's end of an agent that is not there: the answer is known when the request is sent."""

    def __init__(self, agent: FakeAgent, lab: Fake) -> None:
        read, write = os.pipe()  # nothing ever comes out of it, and a wait for it lasts as long as it is told to
        super().__init__(agent.node, read, write)
        self._agent, self._lab = agent, lab
        self._answers: dict[int, Any] = {}
        self._children: dict[int, tuple[str, deque[Any]]] = {}

    def send(self, operation: str, arguments: Mapping[str, Any]) -> int:
        if self.dead:
            raise self._died()
        self._count += 1
        child = self._children[arguments["number"]][0] if operation == "child" else None
        self._lab.note(Operation(self.node, operation, arguments, child))
        if operation == "child":
            self._answers[self._count] = self._told(**arguments)
        elif operation in FIRST_EVENTS:
            self._children[self._count] = operation, deque([dict(FIRST_EVENTS[operation])])
            self._answers[self._count] = self._count
            if operation == "listener":
                self._agent.listens = arguments
        else:
            self._answers[self._count] = self._agent.answer(operation, arguments)
        return self._count

    def _told(self, number: int, tell: Any = None, end: bool = False) -> None:
        operation, events = self._children[number]
        if end and operation == "listener":
            self._agent.listens = None
        for word, value in (tell or {}).items():
            if word in REPLIES:
                events.append(REPLIES[word](self._agent, value))

    def result(self, number: int, timeout: float = 0.0) -> Any:
        return self._answers.pop(number)

    def event(self, child: int, timeout: float) -> Any:
        if self.dead:
            raise self._died()
        events = self._children[child][1]
        return events.popleft() if events else None

    def has_event(self, child: int) -> bool:
        return bool(self._children[child][1])

    def pump(self, timeout: float) -> bool:
        if self.dead:
            raise self._died()
        return False


REPLIES: Mapping[str, Callable[[FakeAgent, Any], dict[str, Any]]] = {
    "report": lambda agent, _: {"report": {"accepts": [], "acted": agent.acted}},
    "forget": lambda *_: {"forgotten": 0},
    "drain": lambda _, number: {"drained": number},
    "look": lambda *_: {"looked": True},
    "stop": lambda *_: {"seen": [], "gap_s": 0.0},
    "release": lambda *_: {"released": True},
}
"""What a child answers to a word."""

ENDED = {"started_ns": 1, "returned_ns": 2}
FIRST_EVENTS: Mapping[str, Mapping[str, Any]] = {
    "wire": {"ready": True},
    "listener": {"ready": True},
    "states": {"ready": True},
    "connect": {"outcome": {"error": "ok", "phase": None, "step": None, "chain": [], "local": None, **ENDED}},
    "attempt": {
        "exit": 0, "signal": None, "stdout": "ok\n", "stderr": "", "hung": False,
        "report": {"error": "ok", "phase": None, "code": None, "chain": []}, **ENDED,
    },
}  # fmt: skip
"""What the operations that are children say first: every client succeeds."""


class Fake(Netns):
    """A session of labs without a kernel. `operations` has all requests in order, `agents` the latest lab's nodes.

    `failing` is asked before each operation: what it raises is what the host would get.
    """

    def __init__(self, failing: Callable[[Operation], None] = lambda operation: None) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.agents: dict[str, FakeAgent] = {}
        self.failing = failing

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def note(self, operation: Operation) -> None:
        """Write it down, or have it fail."""
        self.operations.append(operation)
        self.failing(operation)

    def settings(self) -> dict[str, tuple[str, ...]]:
        """What every node's faults may have changed."""
        return {node: agent.settings() for node, agent in self.agents.items()}

    def _fork(self, spec: Spec, stack: ExitStack) -> dict[str, Channel]:
        self.agents = {node["name"]: FakeAgent(node["name"], hosts=node["hosts"]) for node in spec["nodes"]}
        for node in spec["nodes"]:
            self.agents[node["name"]].sysctls.update(node["sysctls"])
        for each in spec["routes"]:
            self.agents[each["node"]].routes.append(_static(each["destination"], each["interface"], each["via"]))
        for link in spec["links"]:
            routes = self.agents[link["hub"]].routes
            routes += [_static(address, link["hub_interface"], None) for address, _ in link["addresses"]]
        channels: dict[str, Channel] = {}
        for name, agent in self.agents.items():
            channels[name] = FakeChannel(agent, self)
            stack.callback(channels[name].close)
        return channels


def _static(destination: str, interface: str, via: str | None) -> dict[str, Any]:
    words = [destination, *(["via", via] if via else []), "dev", interface, "proto", "static", "metric", "1024"]
    return _route(words)
