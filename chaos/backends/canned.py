"""What an agent without a kernel answers: it remembers the settings which faults change, and nothing more.

A test may change all of it: what a capture has seen, how often a rule has matched, how full a queue is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chaos import toxiproxy
from chaos.packets import Frame

FRESH = {
    "net/ipv4/tcp_syn_retries": "6",
    "net/ipv4/tcp_syn_linear_timeouts": "4",
    "net/ipv4/tcp_rto_max_ms": "120000",
}
"""What a new network namespace has (Linux net/ipv4/tcp_ipv4.c, tcp_sk_init); other sysctls are 0."""

NEIGHBOUR_TABLE = ("retrans", "1000", "mcast_probes", "3")
"""A neighbour table's own settings (arp(7))."""

COUNTERS = (
    "TcpExtListenOverflows", "TcpExtTCPReqQFullDrop", "TcpExtTCPReqQFullDoCookies", "TcpExtIPReversePathFilter",
    "TcpExtTCPChallengeACK",
)  # fmt: skip
"""What faults read (nstat(8)); all are 0 until a test says otherwise."""

MAC = "02:00:00:00:00:01"
"""Everybody's."""
SHOWN = {"link": [{"address": MAC}], "address": [{"addr_info": [{"dadfailed": True}]}]}
"""What `ip -json WHAT show` says."""

KEYS = {"via": "gateway", "proto": "protocol"}


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
    resolv_conf: str | None = None
    listens: Mapping[str, Any] | None = None
    proxies: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: list[str] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)
    extras: set[str] = field(default_factory=set)
    descriptors: str | None = None
    zone: Mapping[str, Any] = field(default_factory=dict)
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    wire: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    queue: dict[str, int] | None = None
    occupied: list[int] = field(default_factory=list)
    modes: dict[str, int | None] = field(default_factory=dict)
    matched: int = 0
    acted: int = 0
    connections: list[Any] = field(default_factory=list)
    neighbours: list[dict[str, Any]] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    lost: int = 0

    def settings(self) -> tuple[str, ...]:
        """All that a fault may change and must put back."""
        sysctls = {name: value for name, value in self.sysctls.items() if value != "0"}
        tables = {name: value for name, value in self.tables.items() if value != NEIGHBOUR_TABLE}
        kept = (
            *(sysctls, self.rules, self.down, tables, self.hosts, self.listens, self.proxies, self.descriptors),
            *(self.zone, self.behaviour, self.wire, self.occupied, self.modes),
        )
        sets = (self.routes, self.children, self.stopped, self.extras)
        return (*map(str, kept), *(text for each in sets for text in sorted(map(str, each))))

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

    def _names(self, hosts: str, resolv_conf: str | None = None) -> None:
        self.hosts, self.resolv_conf = hosts, resolv_conf

    def _pathname(self, path: str, mode: int | None = None, unlink: bool = False) -> dict[str, Any] | None:
        """A path whose mode was changed, or that was removed (None), until a listener takes it again."""
        if unlink or mode is not None:
            self.modes[path] = None if unlink else mode
        now = self.modes.get(path, 0o755)
        return None if now is None else {"mode": now, "owners": []}

    def _counters(self) -> list[str]:
        return ["", "", "".join(f"{name} {value}\n" for name, value in self.counters.items())]

    def _queue(self, port: int, **_: Any) -> dict[str, int] | None:
        if self.listens is None or self.listens["port"] != port:
            return None
        return self.queue or {"accept": self.listens["fill"], "backlog": self.listens["backlog"]}

    def _descriptors(self, before: str | None) -> int:
        self.descriptors = before
        return 0

    def _half_open(self, count: int, **_: Any) -> int:
        return count

    def _connections(self, **_: Any) -> list[Any]:
        return self.connections

    def _quiesce(self, **_: Any) -> int:
        self.neighbours.clear()
        return 0

    def _wire(self, do: str, rule: Mapping[str, Any] | None = None, number: int = 0, **_: Any) -> int | None:
        if do == "arm" and rule is not None:
            self.wire[rule["number"]] = rule
        elif do == "withdraw":
            del self.wire[number]
        return {"count": self.matched, "lost": self.lost}.get(do)

    def _states(self, do: str, **_: Any) -> dict[str, Any] | None:
        return {"seen": [], "gap_s": 0.0} if do == "stop" else None

    def _capture(self, do: str, since: int = 0, **_: Any) -> dict[str, Any] | None:
        if do == "start":
            return None
        told = [[it.time_ns, it.outgoing, base64.b64encode(it.data).decode()] for it in self.frames[since:]]
        return {"frames": told, "lost": self.lost}

    def serves(self, zone: Mapping[str, Any]) -> dict[str, Any]:
        """The DNS server of this node has another zone."""
        self.zone = zone
        return {"zoned": True}

    def behaves(self, behaviour: Mapping[str, Any]) -> dict[str, Any]:
        """It answers in another way; to be honest is to be as it was."""
        self.behaviour = {} if behaviour["answer"] == "honest" else behaviour
        return {"behaves": True}

    def toxiproxy(self, do: str, name: str, **said: Any) -> Any:
        """What the Toxiproxy of this node says."""
        if do == "create":
            self.proxies[name] = {"name": name, "enabled": True, "toxics": [], "version": toxiproxy.VERSION, **said}
        proxy = self.proxies[name]
        if do == "enable":
            proxy["enabled"] = said["enabled"]
        elif do == "add":
            proxy["toxics"].append(said["toxic"])
        elif do == "remove":
            proxy["toxics"] = [toxic for toxic in proxy["toxics"] if toxic["name"] != said["toxic"]]
        return {"upstream": [0, 0], "downstream": [0, 0]} if do == "passed" else proxy

    def _command(self, argv: list[str]) -> str:
        if argv[:2] == ["getent", "hosts"]:
            return "".join(line + "\n" for line in self.hosts.splitlines() if line.split()[1:] == argv[2:])
        words = [word for word in argv[1:] if not word.startswith("-")]
        if words[:2] == ["route", "show"]:
            return json.dumps([route for route in self.routes if route["dst"] == words[2]])
        if words[1] == "show":
            return json.dumps(SHOWN.get(words[0]) or self.neighbours or [{"lladdr": MAC, "state": ["REACHABLE"]}])
        if words[0] in ("address", "link", "neigh"):
            self._extra(words[0], words[1], words[2:])
            return ""
        if words[:2] == ["route", "add"]:
            self.routes.append(_route(words[2:]))
        elif words[:2] == ["route", "del"]:
            self.routes.remove(_route(words[2:]))
        elif words[:2] == ["ntable", "change"]:
            self.tables[tuple(words[2:6])] = tuple(words[6:])
        return ""

    def _extra(self, what: str, do: str, words: list[str]) -> None:
        """An address, a link or a neighbour's entry that the lab did not make, or its own that was taken away."""
        name = f"{what} {words[0]}"
        if do in ("add", "del") or words[-1] == "permanent":
            self.extras ^= {name}


def _route(words: list[str]) -> dict[str, Any]:
    """A route as `ip -json route` prints it, from the arguments of `ip route add`."""
    kind = {} if words[0][0].isdigit() else {"type": words.pop(0)}
    pairs = {KEYS.get(key, key): value for key, value in zip(words[1::2], words[2::2], strict=True)}
    return {**kind, "dst": words[0], "dev": "", **pairs, "metric": int(pairs["metric"])}


def static_route(destination: str, interface: str, via: str | None) -> dict[str, Any]:
    words = [destination, *(["via", via] if via else []), "dev", interface, "proto", "static", "metric", "1024"]
    return _route(words)


REPLIES: Mapping[str, Callable[[FakeAgent, Any], dict[str, Any]]] = {
    "report": lambda agent, _: {"report": {"accepts": [], "acted": agent.acted}},
    "forget": lambda *_: {"forgotten": 0},
    "opened": lambda agent, _: {"opened": agent.acted},
    "release": lambda *_: {"released": 1},
    "toxiproxy": lambda agent, question: {"result": agent.toxiproxy(**question)},
    "zone": lambda agent, zone: agent.serves(zone),
    "behave": lambda agent, behaviour: agent.behaves(behaviour),
    "answered": lambda agent, _: {"answered": agent.acted},
}
"""What a child answers to a word."""

ENDED = {"started_ns": 1, "returned_ns": 2, "waited_ns": 0}
FIRST_EVENTS: Mapping[str, Mapping[str, Any]] = {
    "listener": {"ready": True},
    "answer": {"ready": True},
    "occupy": {"ready": True},
    "crossing": {"ready": True},
    "program": {"ready": True},
    "toxiproxy": {"ready": True},
    "resolver": {"ready": True},
    "forged_reset": {"ready": True},
    "overflow": {"ready": True},
    "holders": {"held": 1},
    "connect": {
        "outcome": {
            "error": "ok", "phase": None, "step": None, "chain": [], "calls": [], "local": None, "peer": None, **ENDED
        }
    },
    "attempt": {
        "exit": 0, "signal": None, "stdout": "ok\n", "stderr": "", "hung": False,
        "report": {"error": "ok", "phase": None, "code": None, "chain": []}, **ENDED,
    },
}  # fmt: skip
"""What the operations that are children say first: every client succeeds."""
