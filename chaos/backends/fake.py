"""A backend without a kernel: labs whose agents write down every operation and give canned answers.

All that is on the host's side (netns.py, lab.py, channel.py) is the real thing; an agent here is an object that
remembers the settings which faults change (sysctls, routes, rules, names, links, listeners) and nothing more. No packet
ever moves: tests say what a capture has seen, and how often a rule has matched.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from chaos import toxiproxy
from chaos.backends.canned import FIRST_EVENTS, REPLIES, FakeAgent, static_route
from chaos.backends.channel import Asked, Channel
from chaos.backends.compressed import Compression
from chaos.backends.netns import Netns

if TYPE_CHECKING:
    from chaos.agent.lab import Spec
    from chaos.backends.lab import Waiting


@dataclass(frozen=True)
class Operation:
    """One request to an agent. `child` names the operation that a word to a child (`child`) is for."""

    node: str
    name: str
    arguments: Mapping[str, Any]
    child: str | None = None


class FakeChannel(Channel):
    """The host's end of agents that are not there: the answer is known when the request is sent."""

    def __init__(self, agents: Mapping[str, FakeAgent], lab: Fake) -> None:
        read, write = os.pipe()  # nothing ever comes out of it, and a wait for it lasts as long as it is told to
        super().__init__(next(iter(agents)), read, write)
        self._agents, self._lab = agents, lab
        self._answers: dict[int, Any] = {}
        self._children: dict[int, tuple[str, deque[Any]]] = {}

    def send_all(self, questions: Sequence[Asked], fds: Sequence[int] = ()) -> list[int]:
        return [self._ask(*question) for question in questions]

    def _ask(self, node: str, operation: str, arguments: Mapping[str, Any]) -> int:
        self.node, agent, number = node, self._agents[node], len(self._nodes) + 1
        if self.dead:
            raise self._died()
        self._nodes[number] = node
        child = self._children[arguments["number"]][0] if operation == "child" else None
        self._lab.note(Operation(node, operation, arguments, child))
        if operation == "child":
            self._answers[number] = None
            self._told(agent, **arguments)
        elif operation in FIRST_EVENTS:
            agent.children.append(operation)
            self._children[number] = operation, deque([dict(FIRST_EVENTS[operation])])
            self._answers[number] = number
            if operation == "listener":
                agent.listens = arguments
                agent.modes.pop(arguments["address"], None)
            elif operation == "program" and agent.listens is None:
                agent.listens = {"port": arguments["port"], "fill": 0, "backlog": 128}
            elif operation == "occupy":
                agent.occupied.append(arguments["port"])
            elif operation == "resolver":
                agent.zone = arguments["zone"]
        else:
            self._answers[number] = agent.answer(operation, arguments)
        return number

    def post(self, node: str, operation: str, arguments: Mapping[str, Any]) -> None:
        self.result(self.send(node, operation, arguments))

    def _told(
        self,
        agent: FakeAgent,
        number: int,
        tell: Any = None,
        end: bool = False,
        forget: bool = False,
        stop: bool | None = None,
    ) -> None:
        operation, events = self._children[number]
        assert not forget or operation == "listener", "no other server is ours"
        if stop is not None:
            agent.stopped ^= {operation}
        if end:
            agent.children.remove(operation)
        if end and operation == "listener":
            agent.listens = None
        elif end and operation == "occupy":
            agent.occupied.pop()
        for word, value in (tell or {}).items():
            if word in REPLIES:
                events.append(REPLIES[word](agent, value))

    def result(self, number: int, timeout: float = 0.0) -> Any:
        return self._answers.pop(number)

    def event(self, child: int, timeout: float) -> Any:
        self.node = self._nodes[child]
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


class Uncompressed(Compression):
    """Nothing waits, so there is no time to compress."""

    def attach(self) -> None:
        pass

    @contextmanager
    def of(self, cookies: Iterable[int]) -> Iterator[None]:
        yield


class Fake(Netns):
    """A session of labs without a kernel. `operations` has all requests in order, `agents` the latest lab's nodes.

    `failing` is asked before each operation: what it raises is what the host would get.
    """

    def __init__(self, failing: Callable[[Operation], None] = lambda _: None) -> None:
        super().__init__()
        self._compression = Uncompressed()
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

    def _toxiproxy(self) -> str:
        return toxiproxy.NAME

    def _forkserver(self, libraries: Sequence[str]) -> int:
        return -1

    def _fork(self, spec: Spec, stack: ExitStack, *, shares: bool) -> tuple[Channel, Waiting]:
        self.agents = {node["name"]: FakeAgent(node["name"], hosts=spec["etc"]["hosts"]) for node in spec["nodes"]}
        for node in spec["nodes"]:
            self.agents[node["name"]].sysctls.update(node["sysctls"])
        for each in spec["routes"]:
            self.agents[each["node"]].routes.append(static_route(each["destination"], each["interface"], each["via"]))
        for link in spec["links"]:
            routes = self.agents[link["hub"]].routes
            routes += [static_route(address, link["hub_interface"], None) for address, _ in link["addresses"]]
        channel = FakeChannel(self.agents, self)
        stack.callback(channel.close)
        return channel, nullcontext
