"""A lab of agents, whatever started them: the listener, the wire, the captures, the legs' boundaries."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from chaos import neighbours
from chaos.backends import names as naming
from chaos.backends.channel import NOTHING, AgentNode, ChildOf, Question, Questions, asked, everywhere, until
from chaos.backends.proxy import AgentProxy
from chaos.backends.relay import DRAIN, LOST, Relay, RelayRule
from chaos.backends.resolver import AgentResolver
from chaos.errors import LabError
from chaos.model import RESOLVER, ROUTER, Setting
from chaos.neighbours import NEIGHBOURS
from chaos.packets import Frame, Packet, decode
from chaos.requires import Answers
from chaos.schedule import SECOND

QUICK = 10.0
"""Seconds within which an agent's child must answer a question; a condition's deadline, not a wait."""
PASSES = 8
"""How often quiesce removes at most: until nothing answers, usually at once."""
EVERY = "::"
"""Where the listener listens when names lead to both of its addresses: one socket takes both families (ipv6(7))."""
LISTENS = 30.0
"""Seconds within which a product must listen."""

Waiting = Callable[[], AbstractContextManager[None]]


class OurListener:
    """Our listener in its node (model.Listener)."""

    def __init__(self, node: AgentNode, arguments: Mapping[str, Any]) -> None:
        self._child = node.start("listener", **arguments)
        self._child.expect("ready", QUICK)
        self._last: Mapping[str, Any] | None = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stopped inside. It answers nothing then, and does nothing either: what it reported last still holds."""
        self._last = self.report()
        self._child.stop(stop=True)
        try:
            yield
        finally:
            self._child.stop(stop=False)
            self._last = None

    def report(self) -> Mapping[str, Any]:
        """{"accepts": [...], "acted": n}, as chaos/agent/listener.py says."""
        if self._last is not None:
            return self._last
        self._child.tell({"report": True})
        report: Mapping[str, Any] = self._child.expect("report", QUICK)
        return report

    def end(self) -> None:
        """End it; what it holds is closed before, without telling the peers."""
        self._child.end(forget=True)


class AgentLab:
    """model.Lab over agents.

    `nowhere`: an address that is routed to the router and belongs to nobody. `router`: the router's (device, address)
    towards each node. `places`: the services' addresses. `packages`: where nodes find a library, if they do not have it
    installed.
    `products`: the nodes that run a program of their own, whose listener is theirs; `open` adds those that it starts.
    `answers`: what the nodes of the session have been asked for; the backend makes it one for all its labs.
    `dear`: another lab may have these nodes, which cost much to start. `recovered`: a run's recovery attempt has shown
    that no fault is left, so that they may serve it.
    `waiting`: what a run enters while it waits for its client and asks the nodes for nothing.
    While in `compressed()`, SYNs are timed in `unit`; a healthy leg keeps the second, which no busy machine exceeds.
    """

    def __init__(
        self,
        setting: Setting,
        nodes: Mapping[str, AgentNode],
        nowhere: str,
        router: Mapping[str, tuple[str, str]],
        places: naming.Places,
        products: frozenset[str] = frozenset(),
        packages: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self.products = products
        self.setting, self.nodes, self.nowhere = setting, nodes, nowhere
        self._links = {end: device for end, (device, _) in router.items()}
        self._gateways = {end: address for end, (_, address) in router.items()}
        self._overrides: dict[str, naming.Overrides] = {}
        self._places = places
        self._packages = packages
        self._proxies: dict[str, AgentProxy] = {}
        self._resolvers: dict[str, AgentResolver] = {}
        self._programs: list[ChildOf] = []
        self._standing_in: list[ChildOf] = []
        self._listener: OurListener | None = None
        self._wire: Relay | None = None
        self._frames: dict[str, list[Frame]] = {name: [] for name in self.captured}
        self._mark: dict[str, int] = dict.fromkeys(self.captured, 0)
        self._lost: dict[str, int] = dict.fromkeys(self.captured, 0)
        self._overflows = neighbours.overflows(setting.families)
        self.at_hold: Callable[[], None] = lambda: None
        self.answers = Answers()
        self.dear, self.recovered = False, False
        self.unit = SECOND
        self.compressed: Callable[[], AbstractContextManager[None]] = nullcontext
        self.waiting: Waiting = nullcontext

    @property
    def captured(self) -> list[str]:
        """The nodes with a capture: every one but the router, whose wire they all see."""
        return [name for name in self.nodes if name != ROUTER]

    @property
    def lost(self) -> dict[str, int]:
        """Frames that no fault has dropped, as far as was read: by node, and those that NEIGHBOURS had no room for."""
        return {**self._lost, NEIGHBOURS: neighbours.overflows(self.setting.families) - self._overflows}

    @property
    def target_address(self) -> str:
        name = self.setting.target.node
        own = self.nodes[name].address
        instead = self._overrides.get(self.setting.client, {}).get(name, (own,))
        return own if own in instead else instead[0]

    @property
    def target_addresses(self) -> frozenset[str]:
        overrides = self._overrides.get(self.setting.client, {})
        return frozenset(naming.zone(self.setting, self._places, overrides)[self.setting.target.node])

    def addresses(self, node: str) -> frozenset[str]:
        """The addresses of a node in the families to which names lead."""
        return frozenset(self._places[node][family] for family in self.setting.families)

    def ours(self, node: str) -> bool:
        return node not in self.products

    def link(self, node: str, end: str) -> str:
        return self._links[end] if node == ROUTER else self.nodes[node].interface

    def link_address(self, node: str, end: str) -> str:
        return self._gateways[end] if node == ROUTER else self.nodes[node].address

    def open(self) -> None:
        """Start captures, wire, listener, every Toxiproxy and DNS server, all at once; return when each is ready."""
        for service in self.setting.topology.services.values():
            if service.proxy is not None:
                (port, upstream), node = service.proxy, self.nodes[service.name]
                to = (self.nodes[upstream.node].address, upstream.port)
                self._proxies[service.name] = AgentProxy.start(node, (node.address, port), to)
            if service.resolver:
                node, zone = self.nodes[service.name], naming.zone(self.setting, self._places, {})
                self._resolvers[service.name] = AgentResolver(node, zone, self._packages("dnslib"))
        eyes: dict[str, list[Question]] = {
            name: [("capture", {"do": "start", "interface": self.nodes[name].interface})] for name in self.captured
        }
        if ROUTER in self.nodes and self.setting.path == "routed":
            self._wire = Relay(self.nodes[ROUTER])
            eyes[ROUTER] = [("wire", {"do": "start", "delay": self.setting.rtt / 2, "interface": "wire1"})]
        asked(self.nodes, eyes)
        self._run_products()
        self._listen("serve", {})
        self._await_programs()
        for proxy in self._proxies.values():
            proxy.create()
        for resolver in self._resolvers.values():
            resolver.await_ready()

    # -- Toxiproxy, and the programs of nodes

    def _run_products(self) -> None:
        """Start what stands in for the images of services, where these are no containers, which run it themselves."""
        for service in self.setting.topology.services.values():
            if service.command and self.ours(service.name):
                port = self.setting.listen.port if service.name == self.setting.listen.node else service.listen
                self.products |= {service.name}
                program = self.nodes[service.name].start("program", argv=[*service.command], port=port)
                program.expect("ready", QUICK)
                self._standing_in.append(program)

    def program(self, node: str, argv: Sequence[str], port: int) -> None:
        """Have a program go on in a node; `open` waits until it serves on this port of the node's loopback."""
        self._programs.append(self.nodes[node].start("program", argv=[*argv], port=port))

    def proxy(self, node: str) -> AgentProxy:
        if node not in self._proxies:
            raise LabError(f"node {node!r} has no Toxiproxy; there is one at: {', '.join(self._proxies) or 'no node'}")
        return self._proxies[node]

    def resolver(self, node: str) -> AgentResolver:
        if node not in self._resolvers:
            known = ", ".join(self._resolvers) or "no node; say `names: dns`"
            raise LabError(f"node {node!r} has no DNS server; there is one at: {known}")
        return self._resolvers[node]

    def _await_programs(self) -> None:
        for program in self._programs:
            program.expect("ready", QUICK)

    def check_alive(self) -> None:
        """LabError when a program of a node has ended or was started anew, or a Toxiproxy is not as it was made."""
        for node in self.nodes.values():
            node.check()
        for program in (*self._programs, *self._standing_in):
            if program.ready():
                program.next(0.0)
        for proxy in self._proxies.values():
            proxy.check()

    # -- the listener

    def _listen(self, do: str, behaviour: Mapping[str, Any]) -> None:
        listen = self.setting.listen
        node = self.nodes[listen.node]
        if not self.ours(listen.node):
            self._await_product(node, listen.port)
            return
        arguments = {
            "do": do,
            "address": self._listens_at(node),
            "port": listen.port,
            "kind": behaviour.get("kind", self.setting.type),
            "backlog": behaviour.get("backlog", listen.backlog),
            "speaks": listen.speaks,
            "after": behaviour.get("after", "accept"),
            "fill": behaviour.get("fill", 0),
            "process": behaviour.get("process", False),
        }
        self._listener = OurListener(node, arguments) if do != "absent" else None

    def _listens_at(self, node: AgentNode) -> str:
        if self.setting.local:
            return self.setting.pathname
        one = len(self.setting.families) == 1 or self.setting.type == "raw"  # which takes its own family alone
        return node.address if one else EVERY

    def _await_product(self, node: AgentNode, port: int) -> None:
        what = f"{node.name!r} to listen on port {port} (is it the port of `listen`?)"
        until(lambda: node.call("queue", port=port) is not None, what, LISTENS, self.nodes)

    @contextmanager
    def listening(self, *, do: str, **behaviour: Any) -> Iterator[OurListener | None]:
        if not self.ours(self.setting.listen.node):
            raise LabError(f"`{do}` needs our listener, and {self.setting.listen.node!r} runs a program of its own")
        self._silence()
        try:
            self._listen(do, behaviour)
            yield self._listener
        finally:
            self._silence()
            self._listen("serve", {})

    def _silence(self) -> None:
        if self._listener is not None:
            self._listener.end()
            self._listener = None

    def accepts(self) -> Sequence[Mapping[str, Any]]:
        """What accept(2) has returned since the listener was started."""
        found: Sequence[Mapping[str, Any]] = self._listener.report()["accepts"] if self._listener else []
        return found

    def acted(self) -> bool:
        return self._listener is not None and self._listener.report()["acted"] > 0

    # -- packets

    def drain(self) -> None:
        """Return when what is on the wire now has arrived."""
        if self._wire is not None:
            self._wire.drain()

    def on_wire(self, rule: Mapping[str, Any]) -> AbstractContextManager[RelayRule]:
        if self._wire is None:
            raise LabError("there is no wire: `path: direct` leaves the router out")
        return self._wire.armed(rule)

    @property
    def drained(self) -> Questions:
        """To be asked before whatever must find the wire empty."""
        return NOTHING if self._wire is None else {ROUTER: [DRAIN]}

    def mark(self, also: Questions = NOTHING) -> dict[str, list[Any]]:
        """What the captures see from now on is the attempt's. Asks nodes something else before; their answers.

        The wire is not waited for: a fault that sends by itself would set the time at which the attempt begins.
        """
        answers = self._read(also)
        self._mark = {name: len(frames) for name, frames in self._frames.items()}
        return answers

    def read_captures(self, also: Questions = NOTHING) -> dict[str, list[Any]]:
        """Take over what the captures have seen, when what is on the wire now has arrived. Asks nodes something else
        before; their answers.
        """
        return self._read(also, self.drained)

    def _read(self, also: Questions, *before: Questions) -> dict[str, list[Any]]:
        last: dict[str, Question] = {
            name: ("capture", {"do": "read", "since": len(frames)}) for name, frames in self._frames.items()
        }
        if self._wire is not None:
            last[ROUTER] = LOST
        told = {name: [*also.get(name, ()), question] for name, question in last.items()}
        answers = asked(self.nodes, *before, {**also, **told})
        for name in self.captured:
            self._take(name, answers[name].pop())
        if self._wire is not None:
            self._lost[ROUTER] = answers[ROUTER].pop()
        return answers

    def _take(self, name: str, seen: Mapping[str, Any]) -> None:
        self._frames[name].extend(
            Frame(time_ns, out, (raw := base64.b64decode(data)), len(raw)) for time_ns, out, data in seen["frames"]
        )
        self._lost[name] = seen["lost"]

    def frames(self) -> dict[str, tuple[Frame, ...]]:
        """Every frame of every leg, by node."""
        return {name: tuple(frames) for name, frames in self._frames.items()}

    def packets(self, node: str) -> Sequence[Packet]:
        self._take(node, self.nodes[node].call("capture", do="read", since=len(self._frames[node])))
        return self.seen(node)

    def seen(self, node: str) -> list[Packet]:
        """The attempt's packets at this node, as far as they were read."""
        decoded = (decode(frame) for frame in self._frames[node][self._mark[node] :])
        return [packet for packet in decoded if packet is not None]

    # -- boundaries of a leg

    def hold(self) -> None:
        self.drain()
        self.at_hold()

    def release(self) -> None:
        """Have the clients close what they hold, silently."""
        everywhere(self.nodes, "release")

    def quiesce(self) -> None:
        """Remove every trace of a leg: sockets at both ends, queues, neighbours, route exceptions."""
        forgetting: Question = ("quiesce", {"do": "forget", "families": [*self.setting.families]})
        forget = {name: [forgetting] for name in self.nodes}
        look: Questions = {name: [("quiesce", {"do": "look"})] for name in self.nodes}
        for _ in range(PASSES):
            moved = asked(self.nodes, self.drained, forget, self.drained, look)
            if not any(frames for (frames,) in moved.values()):
                break
        self.check_alive()

    def wait(self, condition: Callable[[], bool], what: str, deadline: float) -> None:
        until(condition, what, deadline, self.nodes)

    def names(self, node: str, overrides: Mapping[str, Sequence[str]]) -> None:
        setting = self.setting
        self._overrides[node] = dict(overrides)
        if setting.names == "hosts":
            self.nodes[node].call("names", hosts=naming.hosts(setting, self._places, overrides))
        else:
            self.resolver(RESOLVER).serve(naming.zone(setting, self._places, overrides))
